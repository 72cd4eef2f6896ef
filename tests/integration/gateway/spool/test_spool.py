"""The spool on real files: group commit, seqs, rotation, seals, the end of a stream."""

import asyncio
import hashlib
import os
from pathlib import Path

import pytest

from gateway.adapters.spool_files import (
    ENDED_NAME,
    LOCK_NAME,
    read_position,
    read_synced,
    segment_files,
    try_lock,
)
from gateway.contracts.access_log import Kind
from gateway.contracts.environment import Durability
from gateway.core.instants import to_instant
from gateway.errors import SpoolFailedError
from tests.factories.events import events, request_tail, seqs, synced_lines, written_lines
from tests.fakes.gateway_ports import FakeClock
from tests.integration.gateway.spool.conftest import OpenSpool
from tests.waiting import eventually


async def test_records_of_one_turn_leave_in_one_write(
    open_spool: OpenSpool, tmp_path: Path
) -> None:
    spool = await open_spool()
    given = [spool.append(request_tail(request_id=f"r{n}")) for n in range(40)]
    assert given == list(range(1, 41))
    assert written_lines(tmp_path / spool.stream) == []  # not before the turn ends
    await spool.durable(40)
    lines = written_lines(tmp_path / spool.stream)
    assert seqs(lines) == given
    assert [event.request_id for event in events(lines)] == [f"r{n}" for n in range(40)]
    assert spool.figures.writes == 1


async def test_readers_see_only_what_an_fdatasync_covers(
    open_spool: OpenSpool, tmp_path: Path
) -> None:
    spool = await open_spool(sync_delay_s=0.05)
    await spool.durable(spool.append(request_tail()))
    assert synced_lines(tmp_path / spool.stream) == []
    await eventually(lambda: synced_lines(tmp_path / spool.stream))
    assert seqs(synced_lines(tmp_path / spool.stream)) == [1]


async def test_power_waits_for_the_fdatasync(open_spool: OpenSpool, tmp_path: Path) -> None:
    spool = await open_spool(durability=Durability.POWER)
    for seq in range(1, 6):
        await spool.durable(spool.append(request_tail()))
        synced = read_synced(tmp_path / spool.stream)
        assert synced is not None
        assert synced.last_seq == seq


async def test_power_groups_share_an_fdatasync(open_spool: OpenSpool) -> None:
    spool = await open_spool(durability=Durability.POWER)
    await asyncio.gather(*(spool.durable(spool.append(request_tail())) for _ in range(50)))
    assert spool.figures.syncs <= 3


async def test_segments_rotate_without_a_gap(open_spool: OpenSpool, tmp_path: Path) -> None:
    spool = await open_spool()
    for _ in range(100):
        last = [spool.append(request_tail()) for _ in range(10)][-1]
        await spool.durable(last)
    await spool.close()
    stream_dir = tmp_path / spool.stream
    assert len(segment_files(stream_dir)) > 3
    assert seqs(synced_lines(stream_dir)) == list(range(1, 1002))
    assert not list(stream_dir.glob("spare*"))
    for _, path in segment_files(stream_dir):
        assert not path.read_bytes().endswith(b"\0" * 64)  # unused space was given back


async def test_more_than_a_segment_in_one_turn(open_spool: OpenSpool, tmp_path: Path) -> None:
    spool = await open_spool()
    last = [spool.append(request_tail()) for _ in range(1500)][-1]
    await spool.durable(last)
    await spool.close()
    assert seqs(synced_lines(tmp_path / spool.stream)) == list(range(1, 1502))


async def test_a_seal_says_what_is_before_it(
    open_spool: OpenSpool, tmp_path: Path, clock: FakeClock
) -> None:
    spool = await open_spool()
    await open_spool("n1.b1.1")
    spool.append(request_tail())
    clock.us += 60_000_000
    seq = await spool.seal()
    lines = written_lines(tmp_path / spool.stream)
    seal = events(lines)[-1]
    assert (seal.kind, seal.seq, seal.last_seq) == (Kind.SEAL, seq, seq)
    assert seal.complete_through == to_instant(clock.now_us())
    assert seal.open_streams == ("n1.b1.0", "n1.b1.1")
    assert not seal.final
    first = hashlib.sha256(bytes(32) + lines[0]).hexdigest()
    assert seal.line_hash == first


async def test_complete_through_is_held_by_the_oldest_admission(
    open_spool: OpenSpool, tmp_path: Path, clock: FakeClock
) -> None:
    spool = await open_spool()
    old = spool.admit(clock.now_us())
    clock.us += 1_000
    young = spool.admit(clock.now_us())
    clock.us += 1_000
    await spool.seal()
    spool.append(request_tail(admitted_at=to_instant(old.admitted_us)), old)
    await spool.seal()
    spool.abandon(young)
    await spool.seal()
    seals = [e for e in events(written_lines(tmp_path / spool.stream)) if e.kind is Kind.SEAL]
    assert [seal.complete_through for seal in seals] == [
        to_instant(old.admitted_us),
        to_instant(young.admitted_us),
        to_instant(clock.now_us()),
    ]


async def test_nothing_is_admitted_before_a_seal(open_spool: OpenSpool, clock: FakeClock) -> None:
    spool = await open_spool()
    sealed_us = clock.now_us()
    await spool.seal()
    assert spool.admit(sealed_us - 5_000_000).admitted_us == sealed_us
    assert spool.admit(sealed_us + 7).admitted_us == sealed_us + 7
    assert spool.admit(sealed_us).admitted_us == sealed_us + 7


async def test_a_closed_stream_has_ended(open_spool: OpenSpool, tmp_path: Path) -> None:
    spool = await open_spool()
    spool.append(request_tail())
    assert try_lock(tmp_path / spool.stream / LOCK_NAME) is None
    await spool.close()
    final = events(synced_lines(tmp_path / spool.stream))[-1]
    assert (final.final, final.final_reason, final.last_seq) == (True, "stopped", 2)
    ended = read_position(tmp_path / spool.stream / ENDED_NAME)
    assert ended is not None
    assert ended.last_seq == 2
    lock = try_lock(tmp_path / spool.stream / LOCK_NAME)
    assert lock is not None
    os.close(lock)
    with pytest.raises(SpoolFailedError):
        spool.append(request_tail())


async def test_a_stream_name_serves_once(open_spool: OpenSpool) -> None:
    await open_spool()
    with pytest.raises(FileExistsError):
        await open_spool()


async def test_a_record_beyond_all_bounds_is_refused(open_spool: OpenSpool) -> None:
    spool = await open_spool()
    with pytest.raises(ValueError, match="a record of"):
        spool.append(b"x" * 40_000)
    assert spool.append(request_tail()) == 1
