"""Billing's own services over the Stripe adapter and the double: faults, webhooks, any order.

Nothing of billing is replaced: the same steps, outbox and inbox as in production.
"""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from billing.errors import CollectorBusyError, CollectorUnavailableError
from billing.models import Invoice, WebhookInbox
from billing.payments.sandbox import delivery
from billing.services.accounts import account_ensure, card_refresh
from billing.services.inbox import event_apply, event_store
from billing.services.invoices import invoice_advance
from billing.services.issue import invoice_issue
from billing.services.payments import payment_collect
from billing.services.review import invoice_approve
from tests.factories.billing import JAN, Customer, customer, finance_user, plan_version
from tests.integration.stripe_double.conftest import SECRET, Bench

pytestmark = pytest.mark.django_db
WALL = datetime(2026, 6, 1, tzinfo=UTC)
LATER = (CollectorBusyError, CollectorUnavailableError)
ISSUING = [
    "POST /v1/customers",
    "POST /v1/invoices",
    "POST /v1/invoiceitems",
    "POST /v1/invoices/{invoice}/finalize",
]


@dataclass
class Run:
    bench: Bench
    who: Customer
    invoice: Invoice
    wall: datetime = WALL

    def issue(self) -> Invoice:
        invoice_issue(
            invoice_id=self.invoice.pk, collector=self.bench.collector, now=JAN, wall=self.wall
        )
        return self.held()

    def collect(self) -> Invoice:
        payment_collect(
            invoice_id=self.invoice.pk,
            collector=self.bench.collector,
            dunning_days=[3, 5, 7],
            now=JAN,
            wall=self.wall,
        )
        return self.held()

    def held(self) -> Invoice:
        return Invoice.objects.get(pk=self.invoice.pk)

    def pass_hours(self, hours: int) -> None:
        self.wall += timedelta(hours=hours)
        self.bench.clock(self.wall)

    def leave_card(self, number: str = "4242424242424242") -> None:
        account = account_ensure(
            organization=self.who.organization, collector=self.bench.collector, now=self.wall
        )
        self.bench.card(account.stripe_customer_id, number)
        card_refresh(account=account, collector=self.bench.collector, now=self.wall)


@pytest.fixture
def run(bench: Bench) -> Run:
    who = customer(tax="20")
    draft = invoice_advance(period_id=who.january.pk, now=JAN).invoice
    assert draft is not None
    approved = invoice_approve(
        invoice_id=draft.pk, content_hash=draft.content_hash, actor=finance_user(), now=JAN
    )
    bench.clock(WALL)
    return Run(bench, who, approved)


def assert_one_and_equal(run: Run) -> None:
    held, counts = run.held(), run.bench.counts()
    assert (counts["customer"], counts["invoice"]) == (1, 1)
    remote = run.bench.collector.invoice_read(remote_id=held.stripe_invoice_id)
    assert remote.total_minor == held.total_minor == held.stripe_total_minor == 5880
    keys = [row.line_key for row in run.bench.collector.line_list(remote_id=remote.id)]
    assert sorted(keys) == [":tax", "base"]


@pytest.mark.parametrize("hours", [1, 25])
@pytest.mark.parametrize("kind", ["answer_lost", "request_lost", "conflict", "rate_limited"])
@pytest.mark.parametrize("route", ISSUING)
def test_one_invoice_after_a_fault_at_any_write(
    run: Run, route: str, kind: str, hours: int
) -> None:
    run.bench.fault(kind, route)
    with pytest.raises(LATER):
        run.issue()
    run.pass_hours(hours)
    assert run.issue().state == "open"
    assert_one_and_equal(run)


def test_nothing_is_asked_before_approval(bench: Bench) -> None:
    draft = invoice_advance(period_id=customer().january.pk, now=JAN).invoice
    assert draft is not None
    invoice_issue(invoice_id=draft.pk, collector=bench.collector, now=JAN, wall=WALL)
    assert list(bench.double.log) == []


def test_a_card_left_on_the_hosted_page_pays(run: Run) -> None:
    run.leave_card()
    run.issue()
    paid = run.collect()
    assert (paid.state, paid.amount_paid_minor) == ("paid", 5880)
    assert_one_and_equal(run)


def test_a_lost_answer_to_the_payment_charges_once(run: Run) -> None:
    run.leave_card()
    run.issue()
    run.bench.fault("answer_lost", "POST /v1/invoices/{invoice}/pay")
    with pytest.raises(CollectorUnavailableError):
        run.collect()
    Invoice.objects.filter(pk=run.invoice.pk).update(next_attempt_at=JAN)
    assert run.collect().state == "paid"
    assert run.bench.counts()["charge"] == 1


def test_a_declined_card_counts_one_attempt(run: Run) -> None:
    run.leave_card("4000000000009995")
    run.issue()
    held = run.collect()
    payment = held.payments.get()
    assert (held.state, payment.state, payment.decline_code) == (
        "open",
        "failed",
        "insufficient_funds",
    )


def _all_events(bench: Bench) -> Iterator[delivery.Delivery]:
    yield from delivery.due(bench.double.store, delivery.wall_ms() + 10**9)


@pytest.mark.parametrize("seed", range(5))
def test_webhooks_in_any_order_and_number_end_in_the_same_state(run: Run, seed: int) -> None:
    store = run.bench.double.store
    with store.transaction():
        held = delivery.WebhookSettings(url="http://portal.test/hook", secret=SECRET, duplicates=2)
        delivery.settings_save(store, held)
    run.leave_card()
    issued = run.issue()
    run.bench.collector.invoice_pay(key="by another way", remote_id=issued.stripe_invoice_id)
    sent = list(_all_events(run.bench))
    random.Random(seed).shuffle(sent)
    wall = datetime.fromtimestamp(delivery.wall_ms() // 1_000, UTC)
    for item in sent:
        event = run.bench.collector.event_verify(payload=item.body, header=item.header, now=wall)
        event_store(event=event, now=wall)
        for row in itertools.islice(WebhookInbox.objects.filter(state="stored"), 2):
            event_apply(event_id=row.pk, collector=run.bench.collector, now=JAN, wall=wall)
    for row in WebhookInbox.objects.filter(state="stored"):
        event_apply(event_id=row.pk, collector=run.bench.collector, now=JAN, wall=wall)
    assert WebhookInbox.objects.count() == len({item.body for item in sent})
    assert run.held().state == "paid"
    assert_one_and_equal(run)


@pytest.mark.parametrize("currency", ["ISK", "MGA", "UGX"])
def test_a_currency_that_stripe_counts_in_another_unit_stops_with_an_alarm(
    bench: Bench, currency: str
) -> None:
    """4,900 would be 49 kronur there, and 4,900 ariary instead of 49."""
    who = customer(version=plan_version(currency=currency))
    draft = invoice_advance(period_id=who.january.pk, now=JAN).invoice
    assert draft is not None
    invoice_approve(
        invoice_id=draft.pk, content_hash=draft.content_hash, actor=finance_user(), now=JAN
    )
    run = Run(bench, who, draft)
    assert currency in run.issue().alarm
    assert bench.counts().get("invoice", 0) == 0
