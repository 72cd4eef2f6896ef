"""Request -> gateway -> spool -> sink -> ClickHouse -> usage, with both sides killed at random."""

import random
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.contracts.access_log import Charge
from gateway.contracts.snapshot import BOOT_HEADER, NODE_HEADER, WORKER_HEADER
from metering.clickhouse import ClickHouse
from metering.queries import Dimension, ExpectedBoot, UsageFilter, Watermark, connect
from tests.clickhouse import Embedded
from tests.gateway_process import KEY, GatewayProcess, one_api_snapshot
from tests.integration.gateway.portal import TOKEN, TinyPortal
from tests.integration.gateway.test_crash import Client
from tests.integration.stripe_double.conftest import served
from tests.sink_process import SinkProcess
from tests.waiting import eventually_sync

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def installation(
    tmp_path: Path, upstream_url: str, clickhouse: Embedded
) -> Iterator[tuple[GatewayProcess, SinkProcess]]:
    client = ClickHouse(clickhouse.url_writer)
    client.command("TRUNCATE TABLE access_log")
    client.close()
    gateway = GatewayProcess(tmp_path / "data", one_api_snapshot(upstream_url))
    sink = SinkProcess(gateway.data, clickhouse.url_writer)
    gateway.start()
    sink.start()
    yield gateway, sink
    sink.kill()


def everything() -> UsageFilter:
    now = datetime.fromtimestamp(time.time(), UTC)
    hour = timedelta(hours=1)
    return UsageFilter(start=now - hour, end=now + hour, subscription_id="sub_1")


def test_a_request_is_visible_as_usage(
    installation: tuple[GatewayProcess, SinkProcess], clickhouse: Embedded
) -> None:
    gateway, sink = installation
    for path in ("/v1/countries/de", "/v1/countries/xx", "/v1/faults/500"):
        gateway.get(path, key=KEY)
    reader = connect(clickhouse.url_readonly)
    deadline = time.monotonic() + 20
    while reader.usage(everything()).total.events < 3:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    report = reader.usage(everything(), by=[Dimension.STATUS, Dimension.ROUTE])
    found = {(r.group["status"], r.group["route"]): r.events for r in report.rows}
    assert found == {("200", "countries"): 1, ("404", "countries"): 1, ("500", "faults"): 1}
    where = everything()
    (usage,) = reader.meter_usage(
        subscription_id="sub_1", environment="live", start=where.start, end=where.end
    )
    assert (usage.billed, usage.counted, usage.events) == (Decimal(1), Decimal(1), 1)
    (row,) = [r for r in reader.requests(where) if r.status == 200]
    assert reader.request(organization_id="org_1", request_id=row.request_id) == row
    assert reader.request(organization_id="org_2", request_id=row.request_id) is None
    assert gateway.stop() == 0
    sink.stop()


def test_kills_of_gateway_and_sink_lose_and_double_nothing(
    installation: tuple[GatewayProcess, SinkProcess], clickhouse: Embedded
) -> None:
    gateway, sink = installation
    stop = threading.Event()
    clients = [Client(gateway.port, stop) for _ in range(4)]
    for client in clients:
        client.start()
    rng = random.Random(11)
    for number in range(8):
        time.sleep(0.2 + rng.random() / 3)
        if number % 2:
            gateway.kill()
            gateway.start()
        else:
            sink.kill()
            sink.start()
    stop.set()
    for client in clients:
        client.join()
    assert gateway.stop() == 0
    acknowledged = [request_id for client in clients for request_id in client.acknowledged]
    assert len(acknowledged) > 200

    reader = connect(clickhouse.url_readonly)
    deadline = time.monotonic() + 30
    while not all(p.ended for p in reader.proofs()) or len(reader.proofs()) < 5:
        assert time.monotonic() < deadline, reader.proofs()
        time.sleep(0.1)
    sink.stop()
    proofs = reader.proofs()
    assert [(p.missing, p.duplicates, p.dead_letters) for p in proofs] == [(0, 0, 0)] * 5
    rows = ClickHouse(clickhouse.url_readonly)
    ids = [str(row[0]) for row in rows.rows(
        "SELECT request_id FROM access_log WHERE kind = 'request' AND charge = 'billed'"
    )]  # fmt: skip
    rows.close()
    assert len(ids) == len(set(ids))
    assert set(acknowledged) <= set(ids)
    assert len(ids) - len(acknowledged) <= 4 * 4  # in flight at a kill of the gateway
    assert reader.usage(everything()).total.quantities == {"requests": Decimal(len(ids))}

    node, boot, worker = proofs[0].stream.rsplit(".", 2)
    now = datetime.fromtimestamp(time.time(), UTC)
    assert reader.watermark(expected=[], now=now).at == now
    known = ExpectedBoot(node, boot, int(worker), now - timedelta(hours=1))
    assert reader.watermark(expected=[known], now=now).at == now
    unheard = ExpectedBoot(node, "another", 0, now - timedelta(minutes=5))
    assert reader.watermark(expected=[known, unheard], now=now).at == now - timedelta(minutes=5)


def test_a_boot_killed_before_its_first_snapshot_does_not_hold_the_watermark(
    tmp_path: Path, upstream_url: str, clickhouse: Embedded
) -> None:
    """Its poll made it known; that it admitted nothing is what its empty stream says."""
    portal = TinyPortal()
    with served(portal.build_app()) as url:
        gateway = GatewayProcess(
            tmp_path / "data", {}, TOLLWAY_PORTAL_URL=url, TOLLWAY_GATEWAY_TOKEN=TOKEN
        )
        (gateway.data / "gateway" / "snapshot.json").unlink()
        gateway.launch()
        eventually_sync(lambda: portal.polls, within_s=20)
        gateway.kill()
        portal.document = one_api_snapshot(upstream_url)
        gateway.start()
        assert gateway.stop() == 0
    now = datetime.fromtimestamp(time.time(), UTC)
    polled = {(h[NODE_HEADER], h[BOOT_HEADER], int(h[WORKER_HEADER])) for h in portal.headers}
    expected = [ExpectedBoot(*boot, now - timedelta(minutes=5)) for boot in sorted(polled)]
    assert len(expected) == 2

    sink = SinkProcess(gateway.data, clickhouse.url_writer)
    sink.start()
    try:
        reader = connect(clickhouse.url_readonly)
        arrived = Watermark(now, {})
        eventually_sync(
            lambda: reader.watermark(expected=expected, now=now) == arrived, within_s=20
        )
    finally:
        sink.kill()


def test_planted_duplicates_do_not_reach_money(
    installation: tuple[GatewayProcess, SinkProcess], clickhouse: Embedded
) -> None:
    gateway, sink = installation
    gateway.get("/v1/countries/de", key=KEY)
    assert gateway.stop() == 0
    reader = connect(clickhouse.url_readonly)
    deadline = time.monotonic() + 20
    while not any(p.ended for p in reader.proofs()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    sink.stop()
    writer = ClickHouse(clickhouse.url_writer)
    for _ in range(2):
        writer.command("INSERT INTO access_log SELECT * FROM access_log LIMIT 100")
    writer.close()
    assert sum(proof.duplicates for proof in reader.proofs()) > 0
    where = everything()
    (usage,) = reader.meter_usage(
        subscription_id="sub_1", environment="live", start=where.start, end=where.end
    )
    assert usage.billed == Decimal(1)
    assert usage.events == 1
    assert reader.usage(where).total.events == 1
    assert reader.usage(
        UsageFilter(start=where.start, end=where.end, everyone=True, charges=(Charge.COUNTED,))
    ).total.events == 0  # fmt: skip
