"""Counters = what the events say, across folding, deleting and kill -9."""

import asyncio
import itertools
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from gateway.adapters.quota_checkpoint import (
    CountersFileError,
    SpoolKeeper,
    load_counters,
)
from gateway.adapters.quota_memory import KEEP_AFTER_END_US, MemoryQuota
from gateway.adapters.spool import FileSpool
from gateway.adapters.spool_commit import SpoolSettings
from gateway.adapters.spool_files import segment_files, write_position
from gateway.adapters.spool_recovery import recover_dead_streams
from gateway.contracts.access_log import AccessLogEvent, Charge
from gateway.contracts.spool import DURABLE_NAME, Position
from gateway.core.charges import WindowCharge
from tests.contract.quota_suite import DAY, START, used, window
from tests.factories.events import events, request_tail, synced_lines
from tests.fakes.gateway_ports import FakeClock
from tests.integration.gateway.spool.writer_process import run_and_kill


def replay(event: AccessLogEvent) -> Sequence[WindowCharge]:
    if event.charge is Charge.FREE:
        return []
    return [window(units=int(units)) for units in event.quantities.values()]


def keeper(tmp_path: Path) -> SpoolKeeper:
    return SpoolKeeper(spool_dir=tmp_path / "spool", counters=tmp_path / "quota", replay=replay)


async def write_stream(tmp_path: Path, stream: str, *, requests: int) -> None:
    """A stream of `requests` requests: two of three are billed or counted, the third is free."""
    spool = await FileSpool.open(
        spool_dir=tmp_path / "spool",
        stream=stream,
        node="n1",
        clock=FakeClock(1_800_000_000_000_000),
        settings=SpoolSettings(segment_bytes=32 * 1024, reserve_bytes=2048),
    )
    for n in range(requests):
        charge = (Charge.BILLED, Charge.COUNTED, Charge.FREE)[n % 3]
        spool.append(request_tail(charge=charge))
        if n % 20 == 0:
            await spool.durable(n + 1)
    await spool.close()


def publish_durable(tmp_path: Path, stream: str, seq: int) -> None:
    """What the sink does when ClickHouse has the stream through `seq`."""
    write_position(tmp_path / "spool" / stream / DURABLE_NAME, Position(1, 0, seq))


async def test_billed_and_counted_events_are_what_was_used(tmp_path: Path) -> None:
    await write_stream(tmp_path, "n1.b0.0", requests=30)
    await write_stream(tmp_path, "n1.b0.1", requests=6)
    rebuilt = keeper(tmp_path).rebuild(now_us=START)
    assert rebuilt["n1.b0.0"][window().key].units == 20
    assert rebuilt["n1.b0.1"][window().key].units == 4
    quota = MemoryQuota()
    quota.restore(rebuilt.values())
    assert await used(quota, window()) == 24


async def test_only_whole_segments_that_are_durable_go(tmp_path: Path) -> None:
    await write_stream(tmp_path, "s", requests=300)
    files = segment_files(tmp_path / "spool" / "s")
    assert len(files) >= 3
    assert keeper(tmp_path).sweep(now_us=START) == 0
    publish_durable(tmp_path, "s", files[2][0] - 2)  # one short of the second segment's end
    assert keeper(tmp_path).sweep(now_us=START) == 1
    assert segment_files(tmp_path / "spool" / "s") == files[1:]
    assert load_counters(tmp_path / "quota")["s"].through == files[1][0] - 1


async def test_deleting_never_changes_what_was_used(tmp_path: Path) -> None:
    await write_stream(tmp_path, "s", requests=300)
    for durable in (0, 50, 120, 121, 290, 300):
        publish_durable(tmp_path, "s", durable)
        keeper(tmp_path).sweep(now_us=START)
        assert keeper(tmp_path).rebuild(now_us=START)["s"][window().key].units == 200
    publish_durable(tmp_path, "s", 301)
    keeper(tmp_path).sweep(now_us=START)
    assert not (tmp_path / "spool" / "s").exists()
    assert keeper(tmp_path).rebuild(now_us=START)["s"][window().key].units == 200


async def test_a_crash_between_counting_and_deleting_counts_once(tmp_path: Path) -> None:
    await write_stream(tmp_path, "s", requests=300)
    publish_durable(tmp_path, "s", 301)
    kept = {path: path.read_bytes() for path in (tmp_path / "spool" / "s").iterdir()}
    keeper(tmp_path).sweep(now_us=START)
    (tmp_path / "spool" / "s").mkdir()
    for path, data in kept.items():
        path.write_bytes(data)
    assert keeper(tmp_path).rebuild(now_us=START)["s"][window().key].units == 200
    keeper(tmp_path).sweep(now_us=START)
    assert keeper(tmp_path).rebuild(now_us=START)["s"][window().key].units == 200


_DYING_SWEEP = """
import os, signal, sys
from pathlib import Path
from gateway.adapters.quota_checkpoint import SpoolKeeper

left = int(sys.argv[2])
root = Path(sys.argv[1])
keeper = SpoolKeeper(spool_dir=root / "spool", counters=root / "quota", replay=lambda _: [])

def die_at(event, _):
    global left
    if event in ("os.remove", "os.rmdir"):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(die_at)
keeper.sweep(now_us=int(sys.argv[3]))
"""


@pytest.mark.timeout(60)
async def test_a_sweep_killed_at_any_removal_leaves_nothing_that_looks_lost(
    tmp_path: Path,
) -> None:
    for step in itertools.count():
        root = tmp_path / str(step)
        await write_stream(root, "s", requests=100)
        publish_durable(root, "s", 101)
        run = [sys.executable, "-c", _DYING_SWEEP, str(root), str(step), str(START)]
        killed = subprocess.run(run, check=False).returncode  # noqa: ASYNC221, S603
        for found in recover_dead_streams(root / "spool", node="n1", now_us=START):
            assert found.damaged_seqs == []
        if (root / "spool" / "s").exists():
            publish_durable(root, "s", 101)  # the sink says again what it has
        keeper(root).sweep(now_us=START)
        assert not (root / "spool" / "s").exists()
        if killed == 0:
            break
    assert step > 4


async def test_windows_leave_the_file_after_their_end(tmp_path: Path) -> None:
    await write_stream(tmp_path, "s", requests=30)
    publish_durable(tmp_path, "s", 31)
    over = START + DAY + KEEP_AFTER_END_US
    keeper(tmp_path).sweep(now_us=over)
    assert load_counters(tmp_path / "quota") == {}
    assert keeper(tmp_path).rebuild(now_us=over) == {}


def test_a_damaged_file_is_said_and_not_taken_for_empty(tmp_path: Path) -> None:
    (tmp_path / "quota").write_bytes(b'{"streams": {"s": {"through": 5}}}')
    (tmp_path / "spool").mkdir()
    with pytest.raises(CountersFileError, match="is damaged"):
        keeper(tmp_path).rebuild(now_us=START)


@pytest.mark.timeout(60)
async def test_after_kills_the_counter_is_billed_plus_counted(tmp_path: Path) -> None:
    rng = random.Random(4)
    spool_dir = tmp_path / "spool"
    spool_dir.mkdir()
    expected = 0
    for round_no in range(3):
        stream = f"n1.b{round_no}.0"
        after_s = rng.uniform(0.05, 0.2)
        await asyncio.to_thread(run_and_kill, spool_dir, stream, "process", after_s=after_s)
        (found,) = recover_dead_streams(spool_dir, node="n1", now_us=START)
        written = events(synced_lines(spool_dir / stream))
        expected += sum(event.charge is not Charge.FREE for event in written)
        publish_durable(tmp_path, stream, rng.randrange(found.last_seq))
        keeper(tmp_path).sweep(now_us=START)
        quota = MemoryQuota()
        quota.restore(keeper(tmp_path).rebuild(now_us=START).values())
        assert await used(quota, window()) == expected > 0
