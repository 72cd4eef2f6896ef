"""A whole worker: it waits for a snapshot, takes changes, survives the portal, stops in order."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import ClientSession

from gateway.adapters.snapshot_poll import write_snapshot
from gateway.app import Identity, Ports, Worker
from gateway.config import GatewaySettings, load
from gateway.contracts.snapshot import Interval, Snapshot
from gateway.ports import Clock
from tests.factories.snapshots import LIVE_KEY, SANDBOX_KEY, build_route, build_snapshot
from tests.fakes.gateway_ports import FakeQuota, FakeSpool
from tests.integration.gateway.portal import TOKEN, document_of, tiny_portal

_LONG = Interval(start=datetime(2020, 1, 1, tzinfo=UTC), end=datetime(2100, 1, 1, tzinfo=UTC))


class Bench:
    """A worker with fakes behind its ports, and what the test needs to look at."""

    def __init__(self, worker: Worker, spool: FakeSpool, task: "asyncio.Task[int]") -> None:
        self.worker = worker
        self.spool = spool
        self.task = task

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110 - any state of the worker may be asked for
                await asyncio.sleep(0.01)

    async def get(self, path: str = "/v1/x", *, key: str = LIVE_KEY) -> int:
        url = f"http://127.0.0.1:{self.worker.port}{path}"
        async with ClientSession() as session, session.get(url, headers={"X-API-Key": key}) as got:
            await got.read()
            return got.status

    async def private(self, path: str) -> tuple[int, str]:
        url = f"http://127.0.0.1:{self.worker.private_port}{path}"
        async with ClientSession() as session, session.get(url) as got:
            return got.status, await got.text()


def _snapshot(version: int = 1, **changes: Any) -> Snapshot:
    """Build a snapshot whose period and segment hold the real now."""
    (segment,) = build_snapshot().entitlements["sub-1"].segments
    entitlement = {"periods": (_LONG,), "segments": (replace(segment, start=_LONG.start),)}
    return build_snapshot(version=version, entitlement=entitlement, **changes)


@asynccontextmanager
async def _worker(portal_url: str, data_dir: Path) -> AsyncIterator[Bench]:
    settings = load(
        {"TOLLWAY_DATA_DIR": str(data_dir), "TOLLWAY_PORTAL_URL": portal_url,
         "TOLLWAY_GATEWAY_TOKEN": TOKEN, "TOLLWAY_GATEWAY_PORT": "0",
         "TOLLWAY_GATEWAY_PRIVATE_PORT": "0", "TOLLWAY_STOP_GRACE_S": "2"}
    )  # fmt: skip
    spool = FakeSpool()

    async def open_ports(_s: GatewaySettings, _i: Identity, _c: Clock, _sn: Snapshot) -> Ports:
        return Ports(spool=spool, quota=FakeQuota(), tidy=tidy)

    async def tidy(_: Snapshot) -> None:
        return None

    identity = Identity(node="node-1", boot="boot-1", worker=0)
    worker = Worker(settings, identity, open_ports=open_ports)
    task = asyncio.create_task(worker.run())
    try:
        yield Bench(worker, spool, task)
    finally:
        worker.stop()
        await task


async def test_door_opens_with_the_first_snapshot(tmp_path: Path) -> None:
    async with tiny_portal() as portal, _worker(portal.url, tmp_path) as bench:
        await portal.polled.wait()
        assert (await bench.private("/readyz"))[0] == 503
        assert (await bench.private("/livez"))[0] == 200
        portal.publish(document_of(_snapshot()))
        await bench.until(lambda: bench.worker.port != 0)
        assert await bench.get() == 502  # no upstream here, but it is routed and metered
        assert (await bench.private("/readyz"))[0] == 200
        metrics = (await bench.private("/metrics"))[1]
        assert 'tollway_requests_total{decision="allow",route="everything",status="502"} 1' in (
            metrics
        )
        assert "tollway_snapshot_version 1.0" in metrics
        assert portal.headers[0]["Tollway-Node"] == "node-1"
        assert portal.headers[0]["Tollway-Boot"] == "boot-1"
        assert portal.headers[0]["Tollway-Worker"] == "0"


async def test_change_is_acknowledged_and_in_force(tmp_path: Path) -> None:
    async with tiny_portal() as portal, _worker(portal.url, tmp_path) as bench:
        portal.publish(document_of(_snapshot()))
        await bench.until(lambda: bench.worker.port != 0)
        assert await bench.get() == 502
        portal.publish(document_of(_snapshot(2, credential={"active": False})))
        await bench.until(lambda: portal.polls[-1]["after"] == "2")
        assert await bench.get() == 401


async def test_refused_snapshot_is_reported_and_the_old_one_stays(tmp_path: Path) -> None:
    async with tiny_portal() as portal, _worker(portal.url, tmp_path) as bench:
        portal.publish(document_of(_snapshot()))
        await bench.until(lambda: bench.worker.port != 0)
        broken = document_of(_snapshot(2))
        broken["hash"] = "sha256:wrong"
        portal.publish(broken)
        await bench.until(lambda: portal.polls[-1].get("refused") == "2")
        assert portal.polls[-1]["after"] == "1"
        assert "hash" in portal.polls[-1]["reason"]
        assert await bench.get() == 502
        portal.publish(document_of(_snapshot(3)))
        await bench.until(lambda: portal.polls[-1]["after"] == "3")
        assert "refused" not in portal.polls[-1]


async def test_last_good_snapshot_serves_when_the_portal_is_away(tmp_path: Path) -> None:
    async with tiny_portal() as portal, _worker(portal.url, tmp_path) as bench:
        portal.publish(document_of(_snapshot(7)))
        await bench.until((tmp_path / "gateway" / "snapshot.json").exists)
    async with _worker("http://127.0.0.1:1", tmp_path) as bench:
        await bench.until(lambda: bench.worker.port != 0)
        assert await bench.get() == 502
    stored = json.loads((tmp_path / "gateway" / "snapshot.json").read_bytes())
    assert stored["version"] == 7
    assert not list((tmp_path / "gateway").glob(".*"))


async def test_damaged_file_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "gateway" / "snapshot.json"
    path.parent.mkdir()
    path.write_text('{"schema": "v1"')
    async with tiny_portal() as portal, _worker(portal.url, tmp_path) as bench:
        portal.publish(document_of(_snapshot()))
        await bench.until(lambda: bench.worker.port != 0)
        assert portal.polls[0]["after"] == "0"


async def test_stored_snapshot_that_is_refused_is_asked_for_anew(tmp_path: Path) -> None:
    """As after an update of the gateway that checks more."""
    no_route = build_route(path="/v1/{broken")
    write_snapshot(_snapshot(7, routes=[no_route]), tmp_path / "gateway" / "snapshot.json")
    async with tiny_portal() as portal, _worker(portal.url, tmp_path) as bench:
        portal.publish(document_of(_snapshot(7)))
        await bench.until(lambda: bench.worker.port != 0)
        assert portal.polls[0]["after"] == "0"


async def test_clock_step_seals_first(tmp_path: Path) -> None:
    day_us = 86_400_000_000
    async with tiny_portal() as portal, _worker(portal.url, tmp_path) as bench:
        portal.publish(document_of(_snapshot(1, sandbox=True)))
        await bench.until(lambda: bench.worker.port != 0)
        assert await bench.get(key=SANDBOX_KEY) == 502
        portal.publish(document_of(_snapshot(2, sandbox=True, offset_us=day_us)))
        await bench.until(lambda: portal.polls[-1]["after"] == "2")
        assert bench.spool.seals == [(False, "clock step"), (False, "after a clock step")]
        assert await bench.get(key=SANDBOX_KEY) == 502
        first, second = (event.admitted_at for event in bench.spool.events)
        assert (second - first).days == 1


async def test_full_spool_has_no_room_for_a_seal_and_the_worker_goes_on(tmp_path: Path) -> None:
    async with tiny_portal() as portal, _worker(portal.url, tmp_path) as bench:
        portal.publish(document_of(_snapshot()))
        await bench.until(lambda: bench.worker.port != 0)
        bench.spool.full = True
        bench.spool.room = False
        portal.publish(document_of(_snapshot(2, offset_us=86_400_000_000)))
        version = bench.worker.stats.gauges
        await bench.until(lambda: version["tollway_snapshot_version"][1]() == 2.0)
        assert await bench.get() == 503
        bench.spool.full = False
        bench.spool.room = True
        assert await bench.get() == 502  # recovered without a restart
        assert not bench.task.done()


async def test_orderly_stop_finishes_what_is_in_flight(tmp_path: Path) -> None:
    asked, release = asyncio.Event(), asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await release.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await reader.read()
        writer.close()

    upstream = await asyncio.start_server(slow, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{upstream.sockets[0].getsockname()[1]}"
    async with tiny_portal() as portal, _worker(portal.url, tmp_path) as bench:
        portal.publish(document_of(_snapshot(upstream_url=url)))
        await bench.until(lambda: bench.worker.port != 0)
        request = asyncio.create_task(bench.get())
        await asked.wait()
        bench.worker.stop()
        await asyncio.sleep(0.1)
        assert not bench.task.done()
        release.set()
        assert await request == 200
        assert await bench.task == 0
        assert bench.spool.seals[-1] == (True, "closed")
        assert not bench.spool.open
    upstream.close()


async def test_failing_disk_ends_the_worker_with_an_error(tmp_path: Path) -> None:
    async with tiny_portal() as portal, _worker(portal.url, tmp_path) as bench:
        portal.publish(document_of(_snapshot()))
        await bench.until(lambda: bench.worker.port != 0)
        bench.spool.broken = True
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.worker.port)
        writer.write(f"GET /v1/x HTTP/1.1\r\nHost: h\r\nX-API-Key: {LIVE_KEY}\r\n\r\n".encode())
        assert await reader.read() == b""
        writer.close()
        async with asyncio.timeout(5):
            assert await bench.task == 1
