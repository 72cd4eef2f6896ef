"""What a worker opens at a start, on what the last one left behind."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.adapters.spool_files import write_position
from gateway.adapters.spool_recovery import recover_dead_streams
from gateway.app import Identity
from gateway.config import load
from gateway.contracts.spool import DURABLE_NAME, Position
from gateway.errors import SpoolFullError
from gateway.storage import claim, open_ports, spool_dir
from tests.factories.access_log import StreamWriter
from tests.factories.snapshots import build_snapshot
from tests.factories.spool_files import SpoolWriter
from tests.fakes.gateway_ports import FakeClock
from tests.integration.gateway.portal import TOKEN

_ROOM = 64 * 1024**2


async def test_spool_that_was_left_full_opens_once_the_sink_has_it_all(tmp_path: Path) -> None:
    settings = load(
        {"TOLLWAY_DATA_DIR": str(tmp_path), "TOLLWAY_GATEWAY_TOKEN": TOKEN,
         "TOLLWAY_SPOOL_MAX_BYTES": str(_ROOM)}
    )  # fmt: skip
    left = SpoolWriter(spool_dir(settings), StreamWriter(stream="n1.b0.0"))
    left.events.event()
    left.block()
    left.sync()
    (tmp_path / "gateway").mkdir()  # a start claims its boot id there
    clock = FakeClock(1_900_000_000_000_000)
    (ended,) = recover_dead_streams(spool_dir(settings), node="n1", now_us=clock.now_us())
    os.truncate(left.path, _ROOM)
    identity = Identity(node="n1", boot="b1", worker=0)
    lock = claim(settings, identity)
    with pytest.raises(SpoolFullError):
        await open_ports(settings, identity, clock, build_snapshot(), lock=lock)
    os.close(lock)  # as its end does
    write_position(left.folder / DURABLE_NAME, Position(1, 0, ended.last_seq))
    again = replace(identity, boot="b2")
    lock = claim(settings, again)
    ports = await open_ports(settings, again, clock, build_snapshot(), lock=lock)
    assert ports.spool.has_room()
    assert not left.folder.exists()
    await ports.spool.close()
