"""A worker that appends as fast as it is acknowledged and prints each acknowledged seq.

Run as `python -m tests.integration.gateway.spool.writer_process SPOOL_DIR STREAM DURABILITY`; the
tests kill it.
"""

import asyncio
import sys
from pathlib import Path

from gateway.adapters.spool import FileSpool
from gateway.adapters.spool_commit import SpoolSettings
from gateway.contracts.environment import Durability
from tests.factories.events import request_tail
from tests.fakes.manual_clock import ManualClock


async def write(spool_dir: Path, stream: str, durability: str) -> None:
    spool = await FileSpool.open(
        spool_dir=spool_dir,
        stream=stream,
        node="n1",
        clock=ManualClock(),
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
