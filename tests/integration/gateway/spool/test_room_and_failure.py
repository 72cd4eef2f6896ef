"""A full disk stops service and comes back alone; a failed one stops the process."""

import asyncio
import errno
import os
import resource
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.adapters.spool import FileSpool
from gateway.adapters.spool_files import ENDED_NAME, segment_files
from gateway.adapters.spool_segment import used_bytes
from gateway.contracts.environment import Durability
from gateway.errors import SpoolFailedError, SpoolFullError
from tests.factories.events import events, request_tail, seqs, synced_lines, written_lines
from tests.integration.gateway.spool.conftest import OpenSpool
from tests.waiting import eventually

SEGMENT = 64 * 1024


async def fill(spool: FileSpool) -> int:
    """Append while there is room, as the proxy does; the last seq."""
    seq = 0
    while True:
        while spool.has_room():
            seq = spool.append(request_tail())
            await spool.durable(seq)
        await asyncio.sleep(0.1)  # a segment of this size fills faster than the next is reserved
        if not spool.has_room():
            return seq


async def test_low_water_keeps_a_reserve_for_seals_and_ends(
    open_spool: OpenSpool, tmp_path: Path
) -> None:
    spool = await open_spool(max_bytes=3 * SEGMENT)
    last = await fill(spool)
    assert await spool.seal() == last + 1
    assert spool.append(request_tail()) == last + 2
    assert len(segment_files(tmp_path / spool.stream)) == 3


async def test_beyond_the_reserve_only_seals_are_taken(
    open_spool: OpenSpool, tmp_path: Path
) -> None:
    spool = await open_spool(max_bytes=SEGMENT)
    seq = await fill(spool)
    with pytest.raises(SpoolFullError):  # noqa: PT012 - which one is refused is not the point
        for _ in range(100):
            seq = spool.append(request_tail())
    await spool.durable(seq)
    assert seqs(written_lines(tmp_path / spool.stream)) == list(range(1, seq + 1))
    await spool.close()
    final = events(synced_lines(tmp_path / spool.stream))[-1]
    assert (final.final, final.seq) == (True, seq + 1)


async def test_a_stream_without_room_for_its_final_seal_is_left_to_the_next_boot(
    open_spool: OpenSpool, tmp_path: Path
) -> None:
    spool = await open_spool(max_bytes=SEGMENT)
    await fill(spool)
    with pytest.raises(SpoolFullError):  # noqa: PT012
        for _ in range(100):
            await spool.seal()
    await spool.close()
    assert not (tmp_path / spool.stream / ENDED_NAME).exists()
    assert not events(synced_lines(tmp_path / spool.stream))[-1].final


async def test_room_comes_back_without_a_restart(open_spool: OpenSpool, tmp_path: Path) -> None:
    other = tmp_path / "n1.b0.0"
    other.mkdir()
    (other / f"{1:020d}.seg").write_bytes(bytes(2 * SEGMENT))
    spool = await open_spool(max_bytes=4 * SEGMENT)
    last = await fill(spool)
    (other / f"{1:020d}.seg").unlink()
    await eventually(spool.has_room)
    assert await fill(spool) > last
    assert seqs(written_lines(tmp_path / spool.stream))[:last] == list(range(1, last + 1))


@pytest.fixture
def file_size_limit() -> Iterator[None]:
    """Let every write beyond 4 KiB of a file fail, as the kernel does it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_streams_may_be_removed_while_the_room_is_counted(tmp_path: Path) -> None:
    """The sweep removes what is done beside the spool's own thread."""
    stop = threading.Event()

    def come_and_go() -> None:
        while not stop.is_set():
            for n in range(20):
                (tmp_path / str(n)).mkdir()
            for n in range(20):
                (tmp_path / str(n)).rmdir()

    other = threading.Thread(target=come_and_go)
    other.start()
    try:
        assert {used_bytes(tmp_path) for _ in range(3_000)} == {0}
    finally:
        stop.set()
        other.join()


async def test_a_failed_write_acknowledges_nothing_more(
    open_spool: OpenSpool, file_size_limit: None
) -> None:
    spool = await open_spool()
    await spool.durable(spool.append(request_tail()))
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, hard))
    seq = spool.append(request_tail())
    with pytest.raises(SpoolFailedError):
        await spool.durable(seq)
    assert spool.failed
    assert not spool.has_room()
    with pytest.raises(SpoolFailedError):
        spool.append(request_tail())
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


async def test_a_failed_fdatasync_fails_every_waiter(
    open_spool: OpenSpool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = await open_spool(durability=Durability.POWER)
    await spool.durable(spool.append(request_tail()))

    def broken(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", broken)
    waiting = [spool.durable(spool.append(request_tail())) for _ in range(5)]
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(answer) for answer in answers] == [SpoolFailedError] * 5
    monkeypatch.undo()
    assert spool.failed
    assert seqs(synced_lines(tmp_path / spool.stream)) == [1]
