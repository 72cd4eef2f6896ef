"""A whole installation under a test's hand: gateway, sink, ClickHouse and Stripe double are real
processes or servers; the portal answers the test's client and runs its tasks when told to.

One clock: `step` moves the product's clock by the service that the sandbox uses, publishes the
snapshot that carries it, and waits until the gateway has it in force.
"""

import html
import re
import threading
import time
import urllib.parse
import urllib.request
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

from aiohttp import web
from celery import current_app
from django.test import Client

from billing import tasks as billing_tasks
from billing.models import WebhookInbox
from billing.payments.sandbox import delivery
from gateway.contracts.snapshot import SNAPSHOT_PATH
from metering.queries import UsageReader, connect
from portal import clock
from portal import tasks as portal_tasks
from portal.models import SnapshotVersion
from portal.services.clock_control import clock_advance, clock_start
from portal.services.nodes import node_poll_record
from portal.snapshots import snapshot_publish
from portal.usage import override
from tests.clickhouse import Embedded
from tests.gateway_process import GatewayProcess
from tests.integration.stripe_double.conftest import Bench, served
from tests.sink_process import SinkProcess

WITHIN_S = 30.0
Queue = deque[tuple[str, dict[str, Any]]]


class SnapshotDoor:
    """Hands the newest published document to the gateway; any thread may read what it saw."""

    def __init__(self) -> None:
        self.document: dict[str, Any] = {}
        self.acknowledged = 0
        self.headers: dict[str, str] = {}
        self._changed = threading.Condition()

    def build_app(self) -> web.Application:
        app = web.Application()
        app.router.add_get(SNAPSHOT_PATH, self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.Response:
        with self._changed:
            self.acknowledged = int(request.query["after"])
            self.headers = dict(request.headers)
            self._changed.notify_all()
        if not self.document or self.document["version"] <= self.acknowledged:
            return web.Response(status=204)
        return web.json_response(self.document)

    def publish(self, document: dict[str, Any]) -> None:
        self.document = document

    def wait_for(self, version: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.acknowledged >= version, WITHIN_S)


def until(condition: Any, what: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


class Installation:
    """What the test holds; `wall` stands still, so that product instants are exact."""

    def __init__(
        self, *, door: SnapshotDoor, gateway: GatewayProcess, sink: SinkProcess,
        reader: UsageReader, bench: Bench, wall: datetime, queue: Queue,
    ) -> None:  # fmt: skip
        self.door, self.gateway, self.sink, self.reader = door, gateway, sink, reader
        self.bench, self.wall, self._queue = bench, wall, queue
        self._posted: set[int] = set()
        self._running = False

    # time

    def begin(self, at: datetime) -> None:
        clock_start(at=at, wall=self.wall)

    def step(self, to: datetime) -> None:
        """Move the clock; the gateway follows, then everything that is due runs."""
        clock_advance(actor=None, wall=self.wall, to=to)
        self.publish()
        self.beat()

    def publish(self) -> None:
        """Publish the snapshot as the tables say and wait until the gateway has it."""
        version = snapshot_publish(now=clock.now())
        self.door.publish(SnapshotVersion.objects.get(pk=version).document)
        if not self._running:
            self.gateway.start()
            self.sink.start()
            self._running = True
        self.door.wait_for(version)
        seen = self.door.headers
        node_poll_record(
            node_id=seen["Tollway-Node"],
            boot=seen["Tollway-Boot"],
            worker=int(seen["Tollway-Worker"]),
            acknowledged_version=version,
            refused_version=None,
            refused_reason="",
            now=clock.now(),
            wall=self.wall,
        )

    # the worker and the beat

    def beat(self) -> None:
        """Run every scan once, and all that they and the webhooks have enqueued."""
        portal_tasks.scan_periods_task()
        billing_tasks.scan_alerts()
        billing_tasks.scan_due()
        self.work()

    def work(self) -> None:
        while True:
            self._webhooks()
            if not self._queue:
                return
            name, ids = self._queue.popleft()
            if name != "portal.snapshot_publish":  # `publish` does, and waits for the gateway
                current_app.tasks[name](**ids)

    def _webhooks(self) -> None:
        """Carry what the double sends to the portal's door."""
        for sent in list(delivery.due(self.bench.double.store, delivery.wall_ms() + 10**9)):
            if sent.id in self._posted:
                continue
            self._posted.add(sent.id)
            answer = Client().post(
                "/webhooks/stripe",
                data=sent.body,
                content_type="application/json",
                headers={"Stripe-Signature": sent.header},
            )
            assert answer.status_code == 200
        assert WebhookInbox.objects.count() <= len(self._posted)

    # usage

    def calls(self, path: str, key: str, count: int) -> list[int]:
        return [self.gateway.get(path, key=key)[0] for _ in range(count)]

    def recorded(self, subscription_id: str, units: int, *, start: datetime) -> None:
        """Wait until ClickHouse holds that many billed and counted units of the subscription."""

        def seen() -> int:
            rows = self.reader.meter_usage(
                subscription_id=subscription_id, environment="live", start=start, end=clock.now()
            )
            return int(sum(row.billed + row.counted for row in rows))

        until(lambda: seen() == units, f"{units} units of {subscription_id}")


def leave_card(url: str, number: str) -> tuple[int, str]:
    """Type a card into the hosted page, as a person would; return status and where it leads."""

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: Any) -> None:
            return None

    form = urllib.parse.urlencode({"number": number, "expiry": "12/34"}).encode()
    try:
        answer = urllib.request.build_opener(Stay).open(url, form, timeout=10)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        return answer.status or 0, answer.headers.get("Location") or ""


def hidden_fields(page: str, action: str) -> dict[str, str]:
    """Read the hidden fields of the form that posts to `action`."""
    forms = re.findall(r'<form[^>]*action="([^"]*)"[^>]*>(.*?)</form>', page, re.DOTALL)
    (body,) = [body for url, body in forms if url == action]
    pairs = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', body)
    return {name: html.unescape(value) for name, value in pairs}


@contextmanager
def installed(data: Path, *, clickhouse: Embedded, bench: Bench) -> Iterator[Installation]:
    wall = datetime.fromtimestamp(int(time.time()), UTC)
    door, reader = SnapshotDoor(), connect(clickhouse.url_readonly)
    queue: Queue = deque()
    with bench.double.store.transaction():
        delivery.settings_save(
            bench.double.store,
            delivery.WebhookSettings(url="http://portal.test/hook", secret="whsec_test"),
        )
    with (
        served(door.build_app()) as url,
        override(reader),
        patch.object(clock, "wall_now", lambda: wall),
        patch("portal.queue._send", lambda name, ids: queue.append((name, ids))),
        patch("billing.payments.stripe_adapter._collector_of", lambda pid: bench.collector),
    ):
        gateway = GatewayProcess(data, {}, TOLLWAY_PORTAL_URL=url)
        (data / "gateway" / "snapshot.json").unlink()
        sink = SinkProcess(data, clickhouse.url_writer)
        made = Installation(
            door=door, gateway=gateway, sink=sink, reader=reader, bench=bench, wall=wall,
            queue=queue,
        )  # fmt: skip
        try:
            yield made
        finally:
            if made._running:
                gateway.stop()
                sink.kill()
