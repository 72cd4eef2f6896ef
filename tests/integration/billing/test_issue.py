"""Issuing and collecting through a collector that loses answers, declines and disagrees."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core import mail

from billing.errors import CollectorBusyError, CollectorUnavailableError
from billing.models import CustomerAccount, Finding, Invoice, Outbox, Payment
from billing.payments.port import Card, RemoteInvoice
from billing.services.close import due_enqueue, late_enqueue
from billing.services.documents import invoice_pdf
from billing.services.dunning import block_due
from billing.services.invoices import invoice_advance
from billing.services.issue import alarm_clear, invoice_issue, issue_due_list, line_drafts
from billing.services.payments import collect_due_list, open_void, payment_collect, remote_apply
from billing.services.review import invoice_approve
from portal.models import AuditEvent, BillingPeriod, Organization
from tests.factories.billing import (
    FEB,
    JAN,
    Customer,
    customer,
    finance_user,
    plan_version,
)
from tests.fakes.collector import FakeCollector

pytestmark = pytest.mark.django_db
WALL = datetime(2026, 6, 1, tzinfo=UTC)
CARD = Card(payment_method_id="pm_1", brand="visa", last4="4242", expires="01/2030")
DAYS = [3, 5, 7]


def approved(who: Customer) -> Invoice:
    draft = invoice_advance(period_id=who.january.pk, now=JAN).invoice
    assert draft is not None
    return invoice_approve(
        invoice_id=draft.pk, content_hash=draft.content_hash, actor=finance_user(), now=JAN
    )


def issue(invoice: Invoice, collector: FakeCollector, wall: datetime = WALL) -> Invoice:
    invoice_issue(invoice_id=invoice.pk, collector=collector, now=JAN, wall=wall)
    return Invoice.objects.get(pk=invoice.pk)


def collect(invoice: Invoice, collector: FakeCollector, now: datetime = JAN) -> Invoice:
    payment_collect(
        invoice_id=invoice.pk, collector=collector, dunning_days=DAYS, now=now, wall=WALL
    )
    return Invoice.objects.get(pk=invoice.pk)


def with_card(who: Customer) -> None:
    CustomerAccount.objects.create(
        organization=who.organization,
        stripe_customer_id="cus_9",
        payment_method_id="pm_1",
        updated_at=WALL,
    )


def test_an_approved_invoice_becomes_open_once() -> None:
    who, collector = customer(tax="20"), FakeCollector()
    invoice = issue(approved(who), collector)
    assert (invoice.state, invoice.number, invoice.stripe_total_minor) == (
        "open",
        "2026-000001",
        5880,
    )
    assert [(x.line_key, x.amount_minor) for x in collector.lines["in_1"]] == [
        ("base", 4900),
        (":tax", 980),
    ]
    before = len(collector.calls)
    issue(invoice, collector)
    assert len(collector.calls) == before
    stored = Invoice.objects.get(pk=invoice.pk)
    assert stored.pdf is not None
    assert bytes(stored.pdf).startswith(b"%PDF")
    assert invoice_pdf(invoice=stored) == bytes(stored.pdf)


@pytest.mark.parametrize(
    "method", ["customer_create", "invoice_create", "line_create", "invoice_finalize"]
)
@pytest.mark.parametrize("fault", ["lost_answer", "unavailable"])
@pytest.mark.parametrize("hours", [1, 30])
def test_a_lost_answer_never_doubles(method: str, fault: str, hours: int) -> None:
    who, collector = customer(tax="20"), FakeCollector(faults=[(method, fault)])
    invoice = approved(who)
    with pytest.raises(CollectorUnavailableError):
        issue(invoice, collector)
    if hours > 24:
        collector.keys.clear()
    invoice = issue(invoice, collector, WALL + timedelta(hours=hours))
    assert invoice.state == "open"
    assert len(collector.invoices) == 1
    assert [x.amount_minor for x in collector.lines["in_1"]] == [4900, 980]


def test_told_to_wait_costs_no_attempt_and_is_found_by_the_scan() -> None:
    who, collector = customer(), FakeCollector(faults=[("line_create", "busy")])
    invoice = approved(who)
    with pytest.raises(CollectorBusyError):
        issue(invoice, collector)
    row = Outbox.objects.get(step="item")
    assert (row.attempts, row.due_at) == (0, WALL + timedelta(seconds=7))
    assert issue_due_list(wall=WALL) == []
    assert issue_due_list(wall=row.due_at) == [invoice.pk]


def test_a_difference_stops_the_invoice_before_it_is_finalized() -> None:
    who, collector = customer(), FakeCollector(tampered_minor=1)
    invoice = issue(approved(who), collector)
    assert invoice.state == "issuing"
    assert invoice.alarm == "Line base: ours 4900, the collector's 4901."
    assert "invoice_finalize" not in collector.calls
    assert issue_due_list(wall=WALL) == []
    alarm_clear(invoice_id=invoice.pk)
    assert issue_due_list(wall=WALL) == [invoice.pk]


def test_nothing_reaches_the_collector_before_approval() -> None:
    who, collector = customer(), FakeCollector()
    draft = invoice_advance(period_id=who.january.pk, now=JAN).invoice
    assert draft is not None
    assert issue(draft, collector).state == "draft"
    assert collector.calls == []


def test_a_declined_card_leaves_it_open_until_it_is_paid() -> None:
    who, collector = customer(), FakeCollector(card=CARD, declines=2)
    with_card(who)
    invoice = issue(approved(who), collector)
    invoice = collect(invoice, collector)
    assert (invoice.state, invoice.next_attempt_at) == ("open", JAN + timedelta(days=3))
    held = Organization.objects.get(pk=who.organization.pk)
    assert (held.past_due_since, held.blocked_at) == (JAN, None)
    assert mail.outbox[0].subject == f"Invoice {invoice.number} over 49.00 USD"
    letter = mail.outbox[1].body
    assert f"49.00 USD for invoice {invoice.number} was declined" in letter
    assert "We will try again on 2026-01-04 UTC." in letter
    assert "Calls go on until 2026-01-08 UTC" in letter
    assert f"/app/{who.organization.slug}/billing" in letter
    assert collect(invoice, collector, JAN + timedelta(days=2)).payments.count() == 1
    assert block_due(now=JAN + timedelta(days=6)) == 0
    second = JAN + timedelta(days=3)
    assert collect_due_list(now=second) == [invoice.pk]
    invoice = collect(invoice, collector, second)
    assert invoice.next_attempt_at == second + timedelta(days=5)
    assert block_due(now=JAN + timedelta(days=7)) == 1
    invoice = collect(invoice, collector, JAN + timedelta(days=8))
    assert (invoice.state, invoice.amount_paid_minor) == ("paid", 4900)
    held.refresh_from_db()
    assert (held.past_due_since, held.blocked_at) == (None, None)
    states = Payment.objects.order_by("attempt").values_list("state", flat=True)
    assert list(states) == ["failed", "failed", "succeeded"]


def test_without_a_card_the_invoice_is_sent() -> None:
    who, collector = customer(), FakeCollector()
    invoice = collect(issue(approved(who), collector), collector)
    assert (invoice.state, invoice.next_attempt_at) == ("open", None)
    assert collector.calls.count("invoice_send") == 1


def test_void_leaves_the_lines_to_the_next_document() -> None:
    who, collector = customer(), FakeCollector()
    invoice = issue(approved(who), collector)
    open_void(
        invoice_id=invoice.pk,
        reason="wrong plan",
        actor=finance_user(),
        collector=collector,
        now=JAN,
        wall=WALL,
    )
    invoice.refresh_from_db()
    assert (invoice.state, collector.invoices["in_1"].status) == ("void", "void")


@pytest.mark.parametrize(
    "name",
    ["株式会社テスト", "บริษัท", "Acme \N{ROCKET}", "A\x07B", '#panic("x") $y$ @z \\', "שלום"],
)
def test_an_invoice_opens_whatever_its_customer_is_called(name: str) -> None:
    """A name that the fonts lack ended the issuing after Stripe had finalized: never collected."""
    who, collector = customer(), FakeCollector()
    Organization.objects.filter(pk=who.organization.pk).update(name=name)
    invoice = issue(approved(who), collector)
    assert (invoice.state, invoice.alarm) == ("open", "")
    assert invoice.pdf is not None
    assert bytes(invoice.pdf).startswith(b"%PDF-")


class EagerCollector(FakeCollector):
    """Its webhook about a void is there, and applied, before its answer is."""

    def invoice_void(self, *, key: str, remote_id: str) -> RemoteInvoice:
        remote = super().invoice_void(key=key, remote_id=remote_id)
        held = Invoice.objects.select_related("organization").get(stripe_invoice_id=remote_id)
        remote_apply(invoice=held, remote=remote, now=JAN)
        return remote


def test_a_webhook_that_overtakes_our_own_void_is_no_finding() -> None:
    """It was one, and it blocked the customer's next close; finance saw an error."""
    who, collector = customer(), EagerCollector()
    invoice, actor = issue(approved(who), collector), finance_user()
    held = open_void(
        invoice_id=invoice.pk,
        reason="wrong plan",
        actor=actor,
        collector=collector,
        now=JAN,
        wall=WALL,
    )
    assert held.state == "void"
    assert not Finding.objects.exists()
    said = AuditEvent.objects.filter(action="collector.void", actor=actor)
    assert said.values_list("reason", flat=True).get() == "wrong plan"


def test_a_void_that_was_made_elsewhere_is_a_finding() -> None:
    who, collector = customer(), FakeCollector()
    invoice = issue(approved(who), collector)
    remote = collector.invoice_void(key="theirs", remote_id=invoice.stripe_invoice_id)
    remote_apply(invoice=invoice, remote=remote, now=JAN)
    assert Finding.objects.get().kind == "void_elsewhere"


def test_more_lines_than_the_collector_takes_fold_by_size() -> None:
    prices = [{"key": f"fee{n:03d}", "model": "flat", "amount": f"{n}.00"} for n in range(1, 301)]
    who = customer(version=plan_version(terms={"prices": prices}), tax="20")
    draft = invoice_advance(period_id=who.january.pk, now=JAN).invoice
    assert draft is not None
    lines = line_drafts(draft)
    assert (len(lines), sum(line.amount_minor for line in lines)) == (250, draft.total_minor)
    assert [line.line_key for line in lines[-2:]] == [":rest", ":tax"]
    assert lines[0].line_key == "fee053"  # the fifty-two smallest are folded
    assert lines[-2].amount_minor == sum(range(1, 53)) * 100


def test_the_scans_send_every_row(django_capture_on_commit_callbacks: Any) -> None:
    rows = [customer(name=f"Acme{n}") for n in range(3)]
    BillingPeriod.objects.filter(pk=rows[0].january.pk).update(closed_at=JAN)
    with django_capture_on_commit_callbacks() as sent:
        assert due_enqueue(now=FEB, grace_s=0) == 2
        assert late_enqueue(now=FEB) == 1
    assert len(sent) == 3
