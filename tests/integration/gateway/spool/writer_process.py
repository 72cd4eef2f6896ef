"""A worker that appends as fast as it is acknowledged and prints each acknowledged seq.

Run as `python -m tests.integration.gateway.spool.writer_process SPOOL_DIR STREAM DURABILITY`; the
tests kill it with `run_and_kill`.
"""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

from gateway.adapters.spool import FileSpool
from gateway.adapters.spool_commit import SpoolSettings
from gateway.contracts.environment import Durability
from tests.factories.events import request_tail
from tests.fakes.gateway_ports import FakeClock


def run_and_kill(spool_dir: Path, stream: str, durability: str, *, after_s: float) -> list[int]:
    """Let a writer run until `after_s` behind its first record; the seqs it saw acknowledged."""
    command = [sys.executable, "-m", __name__, str(spool_dir), stream, durability]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:  # noqa: S603 - our own
        assert writer.stdout is not None
        first = writer.stdout.readline()
        time.sleep(after_s)
        writer.kill()
        printed = first + writer.stdout.read()
    return [int(item) for item in printed.splitlines(keepends=True) if item.endswith(b"\n")]


async def write(spool_dir: Path, stream: str, durability: str) -> None:
    spool = await FileSpool.open(
        spool_dir=spool_dir,
        stream=stream,
        node="n1",
        clock=FakeClock(1_800_000_000_000_000),
        settings=SpoolSettings(
            segment_bytes=256 * 1024, reserve_bytes=4096, durability=Durability(durability)
        ),
    )
    while True:
        last = [spool.append(request_tail()) for _ in range(7)][-1]
        await spool.durable(last)
        sys.stdout.write(f"{last}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
