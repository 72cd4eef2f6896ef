"""A double and a collector that talks to it, in process and over a real socket."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import stripe
from aiohttp import web

from billing.payments.port import LineDraft, RemoteInvoice
from billing.payments.sandbox import cards, checkout, collecting, disputes, faults
from billing.payments.sandbox.double import ROUTE_NAMES, Double
from billing.payments.sandbox.server import build_app
from billing.payments.sandbox.store import Store
from billing.payments.sandbox.transport import DoubleTransport
from billing.payments.stripe_adapter import StripeCollector, client_build

KEY = "sk_test_double"
SECRET = "whsec_double"
START = datetime(2026, 11, 1, tzinfo=UTC)


@contextmanager
def served(app: web.Application) -> Iterator[str]:
    """Run an application on a free port of loopback in a thread of its own."""
    loop, ready, found = asyncio.new_event_loop(), threading.Event(), []
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)

    async def start() -> None:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        found.append(runner.addresses[0][1])
        ready.set()

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(start())
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield f"http://127.0.0.1:{found[0]}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


@dataclass
class Bench:
    """A double with the collector under test and shortcuts for what tests order."""

    double: Double
    collector: StripeCollector
    client: stripe.StripeClient
    url: str = ""
    made: list[str] = field(default_factory=list)

    def fault(self, kind: str, route: str = "*", count: int = 1, delay_ms: int = 0) -> None:
        order = faults.Fault(route=route, kind=kind, count=count, delay_ms=delay_ms)
        with self.double.store.transaction():
            faults.order(self.double.store, order, known=ROUTE_NAMES)

    def clock(self, instant: datetime) -> None:
        with self.double.store.transaction():
            self.double.store.setting_put("clock", int(instant.timestamp()))

    def customer(self, organization_id: str = "org_1") -> str:
        return self.collector.customer_create(
            key=f"{organization_id}:customer",
            organization_id=organization_id,
            name="Acme",
            email=f"{organization_id}@example.test",
        )

    def card(self, customer_id: str, number: str = "4242424242424242") -> str:
        """Leave a card on the hosted page and let the collector find it."""
        session = self.collector.checkout_create(
            key=f"{customer_id}:setup:{number}:{len(self.made)}",
            customer_id=customer_id,
            success_url="https://portal.example.test/ok?session={CHECKOUT_SESSION_ID}",
            cancel_url="https://portal.example.test/no",
        )
        self.made.append(session.id)
        known = cards.card_of(number)
        assert known is not None
        with self.double.store.transaction():
            checkout.complete(
                self.double.world(), session.id, card=known, exp_month=12, exp_year=2034
            )
        found = self.collector.card_read(customer_id=customer_id)
        assert found is not None
        return found.payment_method_id

    def draft(
        self, customer_id: str, *amounts: int, days: int | None = None, invoice_id: str = "inv_1"
    ) -> RemoteInvoice:
        """Create a draft with a line for each amount."""
        made = self.collector.invoice_create(
            key=f"{invoice_id}:draft",
            customer_id=customer_id,
            currency="USD",
            days_until_due=days,
            metadata={"invoice_id": invoice_id},
        )
        for index, amount in enumerate(amounts):
            self.collector.line_create(
                key=f"{invoice_id}:item:{index}",
                customer_id=customer_id,
                remote_id=made.id,
                line=line(f"line{index}", amount),
            )
        return self.collector.invoice_read(remote_id=made.id)

    def opened(
        self, customer_id: str, *amounts: int, days: int | None = None, invoice_id: str = "inv_1"
    ) -> RemoteInvoice:
        made = self.draft(customer_id, *amounts, days=days, invoice_id=invoice_id)
        return self.collector.invoice_finalize(key=f"{invoice_id}:fin", remote_id=made.id)

    def dispute(self, charge_id: str, *, amount: int | None = None) -> str:
        """Let the cardholder object to a charge; return the dispute's id."""
        with self.double.store.transaction():
            made = disputes.open_(
                self.double.world(), charge=charge_id, reason="fraudulent", amount=amount
            )
        return str(made["id"])

    def decide(self, dispute_id: str, status: str) -> None:
        """Let the bank move a dispute on."""
        with self.double.store.transaction():
            disputes.decide(self.double.world(), dispute_id, status=status)

    def confirm(self, remote_id: str) -> None:
        """Confirm a payment on the hosted page, as the customer does."""
        with self.double.store.transaction():
            collecting.action_done(self.double.world(), remote_id)

    def charge_of(self, remote_id: str) -> str:
        """Return the id of the charge that paid an invoice."""
        payments = self.client.v1.invoice_payments.list({"invoice": remote_id}).data
        intent = self.client.v1.payment_intents.retrieve(str(payments[0].payment.payment_intent))
        return str(intent.latest_charge)

    def counts(self) -> dict[str, int]:
        return self.double.store.counts()

    def statuses(self, path: str) -> list[int]:
        return [entry.status for entry in self.double.log if entry.path == path]


def line(key: str, amount: int, currency: str = "USD", text: str = "A line") -> LineDraft:
    return LineDraft(
        line_key=key,
        description=text,
        amount_minor=amount,
        currency=currency,
        starts_at=START,
        ends_at=START + timedelta(days=30),
        body_hash=f"{key}-{amount}",
    )


def bench_on(double: Double, client: stripe.StripeClient, url: str = "") -> Bench:
    collector = StripeCollector(client=client, webhook_secrets=[SECRET])
    return Bench(double, collector, client, url)


def in_process(double: Double, *, retries: int = 0) -> Bench:
    client = client_build(
        secret_key=KEY,
        api_base="http://double.test",
        http_client=DoubleTransport(double),
        retries=retries,
    )
    return bench_on(double, client)


@pytest.fixture
def double() -> Iterator[Double]:
    store = Store(path=None, salt="Test")
    yield Double(store, secret_key=KEY)
    store.close()


@pytest.fixture
def bench(double: Double) -> Bench:
    """The library calls the double's handler; it makes no tries of its own."""
    return in_process(double)


@pytest.fixture
def http_bench(double: Double) -> Iterator[Bench]:
    """The library calls the double over a socket."""
    with served(build_app(double)) as url:
        double.public_url = url
        client = client_build(secret_key=KEY, api_base=url, retries=0)
        yield bench_on(double, client, url)


@pytest.fixture(params=["in process", "over http"])
def any_bench(request: pytest.FixtureRequest) -> Bench:
    name = {"in process": "bench", "over http": "http_bench"}[request.param]
    found: Bench = request.getfixturevalue(name)
    return found


Sent = Callable[[Any], bool]
