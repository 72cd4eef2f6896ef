"""Credit notes, refunds, disputes and lost cards, through the real library and the double.

Nothing of billing is replaced. After each path the two ledgers are compared by the nightly run
itself, which must find nothing.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail

from billing import tasks
from billing.errors import CollectorBusyError, CollectorUnavailableError
from billing.models import (
    CreditNote,
    CustomerAccount,
    Dispute,
    Finding,
    Invoice,
    LedgerMovement,
    NoteReason,
    NoteSettlement,
    WebhookInbox,
)
from billing.payments.port import RemoteInvoice
from billing.payments.stripe_adapter import StripeCollector
from billing.services.books import books_compare, books_heal
from billing.services.credit_notes import credit_note_approve, credit_note_draft
from billing.services.inbox import event_apply, event_store
from billing.services.issue import invoice_issue
from billing.services.ledger import refunded_minor
from billing.services.note_issue import credit_note_issue, note_alarm_clear, note_due_list
from billing.services.review import invoice_approve
from portal.usage import override
from tests.factories.billing import FEB, JAN, customer, finance_user
from tests.fakes.usage import FakeUsageReader
from tests.integration.billing.test_chain import close
from tests.integration.stripe_double.test_billing_on_the_double import WALL, Run, run

__all__ = ["run"]
pytestmark = pytest.mark.django_db
LATER = (CollectorBusyError, CollectorUnavailableError)
BALANCE, REFUND = NoteSettlement.BALANCE, NoteSettlement.REFUND


@dataclass
class Notes:
    """What a test orders of credit notes."""

    run: Run

    def approved(self, base_minor: int = 1000, settlement: NoteSettlement = BALANCE) -> CreditNote:
        note = credit_note_draft(
            invoice_id=self.run.invoice.pk,
            lines={"base": base_minor},
            reason_code=NoteReason.OUTAGE,
            reason="Outage",
            settlement=settlement,
            now=JAN,
        )
        return credit_note_approve(
            note_id=note.pk, content_hash=note.content_hash, actor=finance_user(), now=JAN
        )

    def issue(self, note: CreditNote) -> CreditNote:
        credit_note_issue(
            note_id=note.pk, collector=self.run.bench.collector, now=JAN, wall=self.run.wall
        )
        return CreditNote.objects.get(pk=note.pk)


@pytest.fixture
def notes(run: Run) -> Notes:
    return Notes(run)


def paid(run: Run) -> Invoice:
    run.leave_card()
    run.issue()
    return run.collect()


def events_of(run: Run) -> Iterator[str]:
    """Store everything that the double has told so far; yield the ids, newest first."""
    for event in reversed(run.bench.collector.event_list(created_from=WALL - timedelta(days=9))):
        event_store(event=event, now=run.wall)
        yield event.id


def apply(run: Run, event_id: str) -> WebhookInbox:
    return event_apply(event_id=event_id, collector=run.bench.collector, now=JAN, wall=run.wall)


def apply_all(run: Run, *, seed: int = 0, times: int = 1) -> None:
    ids = list(events_of(run)) * times
    random.Random(seed).shuffle(ids)
    for event_id in ids:
        apply(run, event_id)


def books(run: Run) -> list[str]:
    found = books_compare(collector=run.bench.collector, now=JAN, wall=run.wall)
    return [row.detail for row in found]


def movements() -> list[tuple[str, int]]:
    rows = LedgerMovement.objects.order_by("kind").values_list("kind", "amount_minor")
    return list(rows)


@pytest.mark.parametrize("hours", [1, 25])
@pytest.mark.parametrize("kind", ["answer_lost", "request_lost", "conflict", "rate_limited"])
@pytest.mark.parametrize("settlement", [BALANCE, REFUND])
def test_one_note_after_a_fault(
    notes: Notes, settlement: NoteSettlement, kind: str, hours: int
) -> None:
    run = notes.run
    paid(run)
    note = notes.approved(settlement=settlement)
    run.bench.fault(kind, "POST /v1/credit_notes")
    with pytest.raises(LATER):
        notes.issue(note)
    assert note_due_list(wall=run.wall) == []
    run.pass_hours(hours)
    assert note_due_list(wall=run.wall) == [note.pk]
    held = notes.issue(note)
    assert (held.state, held.number, held.total_minor) == ("issued", "CN-2026-000001", 1200)
    assert (held.applied_minor, held.paid_back_minor) == (0, 1200)
    assert bytes(held.pdf or b"").startswith(b"%PDF")
    counts = run.bench.counts()
    assert counts["credit_note"] == 1
    assert counts.get("refund", 0) == (settlement == REFUND)
    notes.issue(note)
    apply_all(run)
    promised = ("note_refund" if settlement == REFUND else "note_balance", 1200)
    expected = [promised, ("refund", 1200)] if settlement == REFUND else [promised]
    assert movements() == expected
    assert books(run) == []
    customer = run.bench.client.v1.customers.list().data[0]
    assert customer.balance == (0 if settlement == REFUND else -1200)


def test_a_note_lowers_what_is_due_and_the_charge(notes: Notes) -> None:
    run = notes.run
    run.leave_card()
    run.issue()
    held = notes.issue(notes.approved(1000))
    invoice = run.held()
    assert (held.applied_minor, invoice.credited_minor, invoice.due_minor) == (1200, 1200, 4680)
    invoice = run.collect()
    assert (invoice.state, invoice.amount_paid_minor) == ("paid", 4680)
    assert invoice.payments.get().amount_minor == 4680
    assert "Credit note CN-2026-000001" in mail.outbox[-1].subject
    letter = str(mail.outbox[-1].body)
    assert "USD of invoice" in letter
    assert " goes back to your card." in letter or " is no longer due." in letter
    assert movements() == [("note_applied", 1200)]
    assert books(run) == []


def test_a_note_over_all_that_is_due_settles_the_invoice(notes: Notes) -> None:
    run = notes.run
    run.issue()
    notes.issue(notes.approved(4900))
    invoice = run.held()
    assert (invoice.state, invoice.amount_paid_minor, invoice.due_minor) == ("paid", 0, 0)
    assert not invoice.payments.exists()
    assert books(run) == []


def test_a_note_that_is_refused_waits_for_a_person(notes: Notes) -> None:
    run = notes.run
    issued = run.issue()
    note = notes.approved(4900)
    other = run.bench.collector.credit_note_create(
        key="elsewhere",
        remote_id=issued.stripe_invoice_id,
        credit_note_id="elsewhere",
        amount_minor=1,
        reason="By hand",
    )
    held = notes.issue(note)
    assert (held.state, "greater than the invoice" in held.alarm) == ("issuing", True)
    assert note_due_list(wall=run.wall) == []
    apply_all(run)
    assert Finding.objects.get(kind="credit_note_elsewhere").invoice_id == run.invoice.pk
    run.bench.client.v1.credit_notes.void_credit_note(other.id)
    run.pass_hours(25)  # the key keeps the refusal that long
    note_alarm_clear(note_id=note.pk)
    assert notes.issue(note).state == "issued"


@pytest.mark.parametrize("seed", range(4))
def test_refunds_and_disputes_in_any_order_are_movements(notes: Notes, seed: int) -> None:
    run = notes.run
    invoice = paid(run)
    charge = run.bench.charge_of(invoice.stripe_invoice_id)
    run.bench.client.v1.refunds.create({"charge": charge, "amount": 500})
    lost = run.bench.dispute(charge, amount=300)
    won = run.bench.dispute(charge, amount=200)
    if seed % 2:
        apply_all(run, seed=seed)  # what is heard before the bank decides
    run.bench.decide(lost, "lost")
    run.bench.decide(won, "under_review")
    run.bench.decide(won, "won")
    apply_all(run, seed=seed, times=3)
    assert sorted(movements()) == [
        ("dispute_lost", 300),
        ("dispute_opened", 200),
        ("dispute_opened", 300),
        ("dispute_won", 200),
        ("refund", 500),
    ]
    assert dict(Dispute.objects.values_list("remote_id", "status")) == {lost: "lost", won: "won"}
    held = run.held()
    assert (held.state, held.total_minor, held.amount_paid_minor) == ("paid", 5880, 5880)
    assert refunded_minor(invoice=held) == 500
    books(run)
    assert Finding.objects.get(kind="refund").organization_id == held.organization_id


def test_a_card_that_is_gone_is_a_state_and_heals(run: Run) -> None:
    run.leave_card()
    run.issue()
    account = CustomerAccount.objects.get()
    run.bench.client.v1.payment_methods.detach(account.payment_method_id)
    apply_all(run)
    account.refresh_from_db()
    assert (account.payment_method_id, account.card_last4) == ("", "")
    held = run.collect()
    assert (held.state, held.waiting_for, held.next_attempt_at) == ("open", "card", None)
    assert "waits for a card" in mail.outbox[-1].subject
    assert held.hosted_url in mail.outbox[-1].body
    run.bench.card(account.stripe_customer_id)
    apply_all(run)
    held = run.held()
    assert (held.waiting_for, held.next_attempt_at) == ("", JAN)
    assert run.collect().state == "paid"
    assert books(run) == []


def test_a_card_gone_unheard_is_found_by_the_charge(run: Run) -> None:
    run.leave_card()
    run.issue()
    account = CustomerAccount.objects.get()
    run.bench.client.v1.payment_methods.detach(account.payment_method_id)
    held = run.collect()
    assert (held.waiting_for, held.next_attempt_at) == ("card", None)
    assert held.payments.get().decline_code == "card_missing"
    account.refresh_from_db()
    assert account.payment_method_id == ""


@pytest.mark.parametrize("through", ["our charge", "an event"])
def test_a_confirmation_that_the_bank_asks_for(run: Run, through: str) -> None:
    run.leave_card("4000002500003155")
    issued = run.issue()
    if through == "our charge":
        run.collect()
    else:
        with pytest.raises(Exception, match="402"):
            run.bench.collector.invoice_pay(key="else", remote_id=issued.stripe_invoice_id)
    apply_all(run, times=2)
    held = run.held()
    payment = held.payments.get()
    assert (held.state, held.waiting_for, payment.state) == ("open", "action", "action_required")
    told, asked = mail.outbox
    assert told.subject.startswith(f"Invoice {held.number} over ")
    assert held.hosted_url in asked.body
    run.bench.confirm(held.stripe_invoice_id)
    apply_all(run)
    held = run.held()
    assert (held.state, held.waiting_for, held.payments.get().state) == ("paid", "", "succeeded")


def test_void_elsewhere_is_followed_and_told(run: Run) -> None:
    issued = run.issue()
    run.bench.client.v1.invoices.void_invoice(issued.stripe_invoice_id)
    apply_all(run, times=2)
    held = run.held()
    assert (held.state, held.next_attempt_at) == ("void", None)
    assert Finding.objects.get().kind == "void_elsewhere"


def test_uncollectible_elsewhere_is_followed_and_can_still_be_paid(run: Run) -> None:
    run.leave_card()
    issued = run.issue()
    run.bench.client.v1.invoices.mark_uncollectible(issued.stripe_invoice_id)
    apply_all(run)
    assert run.held().state == "uncollectible"
    run.bench.collector.invoice_pay(key="late", remote_id=issued.stripe_invoice_id)
    apply_all(run)
    assert run.held().state == "paid"


def test_a_deleted_customer_is_forgotten_and_made_anew(run: Run) -> None:
    run.leave_card()
    before = CustomerAccount.objects.get().stripe_customer_id
    run.bench.client.v1.customers.delete(before)
    apply_all(run, times=2)
    account = CustomerAccount.objects.get()
    assert (account.stripe_customer_id, account.payment_method_id) == ("", "")
    assert Finding.objects.get().kind == "customer_deleted"
    assert run.issue().state == "open"
    assert CustomerAccount.objects.get().stripe_customer_id not in ("", before)


def test_the_hourly_run_finds_what_no_webhook_told(run: Run) -> None:
    run.leave_card()
    issued = run.issue()
    run.bench.collector.invoice_pay(key="else", remote_id=issued.stripe_invoice_id)
    healed = books_heal(collector=run.bench.collector, now=JAN, wall=run.wall)
    assert healed.invoices == 1
    assert healed.events == WebhookInbox.objects.count() > 0
    assert run.held().state == "paid"
    for row in WebhookInbox.objects.all():
        assert apply(run, row.pk).state in ("applied", "ignored")
    again = books_heal(collector=run.bench.collector, now=JAN, wall=run.wall)
    assert (again.events, again.invoices) == (0, 0)


def test_an_invoice_that_stays_open_is_not_read_again_each_hour(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    issued = run.issue()
    run.pass_hours(24 * 9)
    read: list[str] = []
    real = type(run.bench.collector).invoice_read

    def counted(collector: StripeCollector, *, remote_id: str) -> RemoteInvoice:
        read.append(remote_id)
        return real(collector, remote_id=remote_id)

    monkeypatch.setattr(StripeCollector, "invoice_read", counted)
    books_heal(collector=run.bench.collector, now=JAN, wall=run.wall)
    assert read == []
    run.bench.collector.credit_note_create(
        key="else", remote_id=issued.stripe_invoice_id, credit_note_id="x", amount_minor=80,
        reason="From the dashboard",
    )  # fmt: skip
    assert books_heal(collector=run.bench.collector, now=JAN, wall=run.wall).invoices == 1
    assert (read, run.held().credited_minor) == ([issued.stripe_invoice_id], 80)


def test_the_night_compares_each_invoice_in_a_task_of_its_own(
    run: Run, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    who, reader = customer(name="Used"), FakeUsageReader(complete_to=FEB + timedelta(hours=2))
    reader.add(who.subscription.pk, JAN, 61_250)
    draft = close(who, reader).invoice
    assert draft is not None
    used = invoice_approve(
        invoice_id=draft.pk, content_hash=draft.content_hash, actor=finance_user(), now=FEB
    )
    run.issue()
    invoice_issue(invoice_id=used.pk, collector=run.bench.collector, now=FEB, wall=run.wall)
    sent: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr("portal.queue._send", lambda name, ids: sent.append((name, ids)))
    monkeypatch.setattr(tasks, "now", lambda: FEB)
    monkeypatch.setattr(tasks, "wall_now", lambda: run.wall)
    monkeypatch.setattr(tasks, "collector", lambda: run.bench.collector)
    with django_capture_on_commit_callbacks(execute=True):
        tasks.reconcile_nightly()
    assert sent == [("billing.invoice_reconcile", {"invoice_id": used.pk})]
    with override(reader):
        tasks.invoice_reconcile(used.pk)
        assert not Finding.objects.exists()
        reader.add(who.subscription.pk, JAN, 7)
        tasks.invoice_reconcile(used.pk)
        tasks.invoice_reconcile("in_of_nobody")
    finding = Finding.objects.get()
    assert (finding.kind, finding.invoice_id) == ("four_totals", used.pk)


def test_the_nightly_run_names_every_difference(run: Run) -> None:
    bench = run.bench
    issued = run.issue()
    stray = bench.draft(CustomerAccount.objects.get().stripe_customer_id, 7, invoice_id="gone")
    assert any("says it is gone" in text for text in books(run))
    run.pass_hours(30)
    Invoice.objects.filter(pk=issued.pk).update(amount_paid_minor=1)
    details = books(run)
    assert any("amount paid is 1 here and 0" in text for text in details)
    bench.collector.invoice_delete(key="d", remote_id=stray.id)
    Finding.objects.update(resolved_at=JAN, resolution="looked at")
    assert books(run) == []
    assert Finding.objects.count() == len(details)
