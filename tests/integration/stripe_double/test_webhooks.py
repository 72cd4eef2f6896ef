"""Webhook delivery over a socket: signed, retried, duplicated, shuffled, delayed, lost."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web

from billing.payments.port import RemoteEvent
from billing.payments.sandbox import delivery
from billing.payments.sandbox.double import Double
from billing.payments.signature import event_verify
from tests.integration.stripe_double.conftest import SECRET, Bench, served


@dataclass
class Receiver:
    """Takes deliveries; `refusals` of them get a 500 first."""

    url: str = ""
    refusals: int = 0
    bodies: list[bytes] = field(default_factory=list)
    events: list[RemoteEvent] = field(default_factory=list)
    arrived: threading.Condition = field(default_factory=threading.Condition)

    async def take(self, request: web.Request) -> web.Response:
        body, header = await request.read(), request.headers["Stripe-Signature"]
        now = datetime.fromtimestamp(delivery.wall_ms() // 1_000, UTC)
        event = event_verify(payload=body, header=header, secrets=[SECRET], now=now)
        with self.arrived:
            self.bodies.append(body)
            if self.refusals:
                self.refusals -= 1
                return web.Response(status=500)
            self.events.append(event)
            self.arrived.notify_all()
        return web.Response()

    def wait(self, count: int) -> list[RemoteEvent]:
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.events) >= count, timeout=10)
            return list(self.events)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    held, app = Receiver(), web.Application()
    app.router.add_post("/hook", held.take)
    with served(app) as url:
        held.url = f"{url}/hook"
        yield held


def pointed(double: Double, receiver: Receiver, **changes: Any) -> None:
    with double.store.transaction():
        held = delivery.WebhookSettings(url=receiver.url, secret=SECRET)
        delivery.settings_save(double.store, replace(held, **changes))


def test_events_arrive_signed_and_in_order(http_bench: Bench, receiver: Receiver) -> None:
    pointed(http_bench.double, receiver)
    customer = http_bench.customer()
    http_bench.draft(customer, 100)
    types = [event.type for event in receiver.wait(4)]
    assert types == [
        "customer.created",
        "invoice.created",
        "invoiceitem.created",
        "invoice.updated",
    ]
    assert receiver.events[0].customer_id == customer


def test_each_arrives_again_when_told_to(http_bench: Bench, receiver: Receiver) -> None:
    pointed(http_bench.double, receiver, duplicates=2)
    http_bench.customer()
    events = receiver.wait(3)
    assert len({event.id for event in events}) == 1
    assert len(set(receiver.bodies)) == 1


def test_a_lost_one_never_arrives_and_is_found_in_the_list(
    http_bench: Bench, receiver: Receiver
) -> None:
    pointed(http_bench.double, receiver, lose=1)
    http_bench.customer("org_1")
    http_bench.customer("org_2")
    arrived = {event.id for event in receiver.wait(1)}
    listed = http_bench.collector.event_list(created_from=datetime(2020, 1, 1, tzinfo=UTC))
    lost = [event for event in listed if event.id not in arrived]
    assert [event.type for event in lost] == ["customer.created"]


def test_a_refused_one_is_sent_again_with_the_same_body(
    http_bench: Bench, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "RETRY_AFTER_MS", (1, 1, 1))
    receiver.refusals = 2
    pointed(http_bench.double, receiver)
    http_bench.customer()
    receiver.wait(1)
    assert len(receiver.bodies) == 3
    assert len(set(receiver.bodies)) == 1


def test_it_gives_up_after_the_last_retry(double: Double, bench: Bench) -> None:
    pointed(double, Receiver(url="http://portal.test/hook"))
    bench.customer()
    now_ms = delivery.wall_ms()
    tries = 0
    for _ in range(10):
        for item in delivery.due(double.store, now_ms):
            tries += 1
            delivery.report(double.store, item.id, taken=False, now_ms=now_ms)
        now_ms += 86_400_000
    assert tries == 1 + len(delivery.RETRY_AFTER_MS)
    assert delivery.next_due_ms(double.store) is None


def test_a_delayed_one_waits(double: Double, bench: Bench) -> None:
    pointed(double, Receiver(url="http://portal.test/hook"), delay_ms=60_000)
    bench.customer()
    assert delivery.deliver_due(double.store, lambda _: True) == 0
    later = delivery.wall_ms() + 61_000
    assert len(delivery.due(double.store, later)) == 1


def test_a_shuffle_changes_the_order_and_nothing_else(double: Double, bench: Bench) -> None:
    pointed(double, Receiver(url="http://portal.test/hook"), shuffle=True)
    for number in range(20):
        bench.customer(f"org_{number}")
    sent: list[int] = []

    def take(item: delivery.Delivery) -> bool:
        sent.append(item.id)
        return True

    assert delivery.deliver_due(double.store, take) == 20
    assert sorted(sent) == list(range(1, 21)) != sent


def test_without_an_address_nothing_is_queued(double: Double, bench: Bench) -> None:
    bench.customer()
    assert delivery.next_due_ms(double.store) is None
    assert double.store.counts()["event"] == 1
