"""`/metrics` tells what the spool wrote and what of it is not shipped yet."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.adapters.spool_backlog import read_backlog
from gateway.adapters.spool_files import read_synced, stream_dirs, write_position
from gateway.contracts.spool import DURABLE_NAME, Position
from gateway.core.instants import to_us
from tests.factories.events import events, synced_lines
from tests.gateway_process import KEY, GatewayProcess, one_api_snapshot
from tests.waiting import eventually_sync


@pytest.fixture
def gateway(tmp_path: Path, upstream_url: str) -> Iterator[GatewayProcess]:
    """A gateway without a sink: what it writes stays unshipped."""
    process = GatewayProcess(tmp_path / "data", one_api_snapshot(upstream_url))
    process.start()
    yield process
    assert process.stop() == 0


def figures(gateway: GatewayProcess) -> dict[str, float]:
    text = gateway.get("/metrics", port=gateway.private_port)[2].decode()
    return {
        name: float(value)
        for name, value in re.findall(r"^tollway_spool_(\w+) (\S+)$", text, re.MULTILINE)
    }


def test_what_waits_is_told_until_it_is_durable(gateway: GatewayProcess) -> None:
    for _ in range(3):
        gateway.get("/v1/countries/de", key=KEY)
    eventually_sync(lambda: figures(gateway)["unshipped_records"] == 3, within_s=10)
    found = figures(gateway)
    assert found["records_total"] == 3
    assert found["bytes_total"] <= found["unshipped_bytes"] < found["bytes_total"] + 500
    assert 0 < found["unshipped_age_seconds"] < 60
    assert 1 <= found["writes_total"] <= 3
    assert found["syncs_total"] >= 1
    assert found["unsynced_seconds"] == found["full_total"] == 0

    (stream_dir,) = stream_dirs(gateway.data / "spool")
    synced = read_synced(stream_dir)
    assert synced is not None
    first, second, _ = events(synced_lines(stream_dir))
    write_position(stream_dir / DURABLE_NAME, Position(1, 0, first.seq))
    backlog = read_backlog(gateway.data / "spool")
    assert backlog.records == 2
    assert backlog.oldest_us == to_us(second.admitted_at)
    write_position(stream_dir / DURABLE_NAME, synced)
    eventually_sync(lambda: figures(gateway)["unshipped_records"] == 0, within_s=10)
    assert figures(gateway)["unshipped_age_seconds"] == 0
