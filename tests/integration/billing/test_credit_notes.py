"""Credit notes: what they are worth, how far they go, what they do to the chain, what is kept."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import IntegrityError, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.errors import CreditNoteRefusedError, CreditNoteStateError, StaleApprovalError
from billing.models import (
    CreditNote,
    CreditReturn,
    Invoice,
    LedgerMovement,
    MovementKind,
    NoteReason,
)
from billing.services.close import period_close, usage_recheck
from billing.services.credit_notes import (
    credit_note_approve,
    credit_note_draft,
    credit_note_void,
)
from billing.services.documents import note_pdf
from billing.services.drafts import billed_map
from billing.services.invoices import invoice_advance
from billing.services.ledger import movement_record
from billing.services.note_amounts import left_map
from billing.services.review import invoice_approve, invoice_move
from billing.services.wallet import grant_list
from billing.states import InvoiceState
from portal.models import AuditEvent
from tests.factories.billing import (
    FEB,
    JAN,
    Customer,
    customer,
    finance_user,
    plan_version,
    pro_terms,
)
from tests.fakes.usage import FakeUsageReader
from tests.integration.billing.test_chain import close, nets, settle_all

pytestmark = pytest.mark.django_db
LATER = FEB + timedelta(hours=2)


def closed_month(who: Customer, units: int) -> tuple[Invoice, FakeUsageReader]:
    """Close January with some usage and take its invoice as paid."""
    reader = FakeUsageReader(complete_to=LATER)
    reader.add(who.subscription.pk, JAN, units)
    invoice = close(who, reader).invoice
    assert invoice is not None
    settle_all(who.january)
    return Invoice.objects.get(pk=invoice.pk), reader


def draft(invoice: Invoice, lines: dict[str, int] | None = None, goodwill: int = 0) -> CreditNote:
    return credit_note_draft(
        invoice_id=invoice.pk,
        lines=lines,
        goodwill_minor=goodwill,
        reason_code=NoteReason.OUTAGE,
        reason="Outage of 3 January",
        actor=finance_user(),
        now=LATER,
    )


def test_a_correction_is_worth_its_lines_and_their_tax() -> None:
    invoice, _ = closed_month(customer(tax="20"), 61_250)
    assert (invoice.subtotal_minor, invoice.tax_minor, invoice.total_minor) == (6340, 1268, 7608)
    note = draft(invoice, {"calls": 440})
    assert (note.subtotal_minor, note.tax_minor, note.total_minor) == (440, 88, 528)
    assert left_map(invoice=invoice) == {"base": 4900, "calls": 1000}
    rest = draft(invoice, {"base": 4900, "calls": 1000})
    assert note.total_minor + rest.total_minor == invoice.total_minor
    assert note.tax_minor + rest.tax_minor == invoice.tax_minor


@pytest.mark.parametrize(
    ("case", "lines", "goodwill"),
    [
        ("beyond a line", {"calls": 1441}, 0),
        ("no such line", {"storage": 1}, 0),
        ("a negative amount", {"calls": -1}, 0),
        ("nothing", {}, 0),
        ("both at once", {"calls": 1}, 1),
        ("goodwill beyond the invoice", {}, 7609),
        ("negative goodwill", {}, -1),
    ],
)
def test_never_beyond_what_is_left(case: str, lines: dict[str, int], goodwill: int) -> None:
    invoice, _ = closed_month(customer(tax="20"), 61_250)
    with pytest.raises(CreditNoteRefusedError):
        draft(invoice, lines, goodwill)
    assert not CreditNote.objects.exists(), case


def test_only_what_is_issued_can_be_credited() -> None:
    first = invoice_advance(period_id=customer().january.pk, now=JAN).invoice
    assert first is not None
    with pytest.raises(CreditNoteRefusedError):
        draft(first, {"base": 100})


def test_prepaid_credit_goes_back_last_and_to_its_grant() -> None:
    terms = pro_terms() | {"credits": [{"amount": "20.00"}]}
    who = customer(version=plan_version(terms=terms), tax="20")
    invoice, _ = closed_month(who, 61_250)
    assert (invoice.credit_minor, invoice.total_minor) == (2000, (6340 - 2000) * 12 // 10)
    first = draft(invoice, {"base": 4000})
    assert (first.credit_minor, first.tax_minor, first.total_minor) == (0, 800, 4800)
    second = draft(invoice, {"base": 900, "calls": 1440})
    assert (second.credit_minor, second.subtotal_minor) == (2000, 2340)
    assert first.total_minor + second.total_minor == invoice.total_minor
    assert CreditReturn.objects.get().amount_minor == 2000
    assert grant_list(subscription=who.subscription, currency="USD") == []
    for state in ("approved", "issuing", "issued"):
        CreditNote.objects.filter(pk=second.pk).update(state=state)
    (grant,) = grant_list(subscription=who.subscription, currency="USD")
    assert grant[1] == 2000


def test_a_void_invoice_gives_its_prepaid_credit_back_once() -> None:
    """What a note of it had returned already does not come on top of the whole draw."""
    terms = pro_terms() | {"credits": [{"amount": "60.00"}]}
    who = customer(version=plan_version(terms=terms))
    invoice, _ = closed_month(who, 61_250)
    note = draft(invoice, {"base": 4900})
    assert (invoice.credit_minor, note.credit_minor) == (6000, 4560)
    for state in ("approved", "issuing", "issued"):
        CreditNote.objects.update(state=state)

    def left() -> list[int]:
        return [minor for _, minor in grant_list(subscription=who.subscription, currency="USD")]

    assert left() == [4560]
    Invoice.objects.update(state="open")
    void = Invoice.objects.get()
    invoice_move(invoice=void, target=InvoiceState.VOID, action="invoice.void", now=LATER)
    assert left() == [6000]


def test_goodwill_stands_outside_the_chain_and_is_not_given_twice() -> None:
    who = customer(tax="20")
    invoice, _ = closed_month(who, 61_250)
    gift = draft(invoice, goodwill=7_000)
    assert (gift.total_minor, gift.subtotal_minor + gift.tax_minor) == (7000, 7000)
    assert billed_map(period=who.january)["calls"].amount_minor == 1440
    note = draft(invoice, {"calls": 1440})
    assert (note.subtotal_minor + note.tax_minor, note.absorbed_minor) == (1728, 1120)
    assert gift.total_minor + note.total_minor == invoice.total_minor
    assert billed_map(period=who.january)["calls"].amount_minor == 0


def test_approval_covers_the_note_and_the_notes_before_it() -> None:
    invoice, _ = closed_month(customer(), 61_250)
    finance = finance_user()
    first, second = draft(invoice, {"calls": 400}), draft(invoice, {"calls": 1040})
    with pytest.raises(StaleApprovalError):
        credit_note_approve(note_id=first.pk, content_hash="0" * 64, actor=finance, now=LATER)
    credit_note_void(note_id=first.pk, reason="wrong line", actor=finance, now=LATER)
    with pytest.raises(StaleApprovalError):
        credit_note_approve(
            note_id=second.pk, content_hash=second.content_hash, actor=finance, now=LATER
        )
    with pytest.raises(CreditNoteStateError):
        credit_note_approve(
            note_id=first.pk, content_hash=first.content_hash, actor=finance, now=LATER
        )
    third = draft(invoice, {"calls": 400})
    approved = credit_note_approve(
        note_id=third.pk, content_hash=third.content_hash, actor=finance, now=LATER
    )
    assert (approved.state, approved.approved_by) == ("approved", finance)
    assert AuditEvent.objects.filter(action="credit_note.approve").count() == 1


def test_a_manual_correction_is_subtracted_by_the_next_document() -> None:
    who = customer()
    first = invoice_advance(period_id=who.january.pk, now=JAN).invoice
    assert first is not None
    settle_all(who.january)
    draft(Invoice.objects.get(pk=first.pk), {"base": 900})
    reader = FakeUsageReader(complete_to=LATER)
    reader.add(who.subscription.pk, JAN, 61_250)
    assert nets(close(who, reader).invoice) == {"base": 900, "calls": 1440}


def test_an_invoice_approval_covers_notes_too() -> None:
    who, finance = customer(), finance_user()
    first = invoice_advance(period_id=who.january.pk, now=JAN).invoice
    assert first is not None
    settle_all(who.january)
    reader = FakeUsageReader(complete_to=LATER)
    reader.add(who.subscription.pk, JAN, 61_250)
    second = close(who, reader).invoice
    assert second is not None
    draft(Invoice.objects.get(pk=first.pk), {"base": 100})
    with pytest.raises(StaleApprovalError):
        invoice_approve(
            invoice_id=second.pk, content_hash=second.content_hash, actor=finance, now=LATER
        )


def corrected(reader: FakeUsageReader, who: Customer, units: int) -> None:
    """Replace what was measured, as a correction of the log does."""
    at = JAN + timedelta(seconds=1)
    reader.events.clear()
    reader.add(who.subscription.pk, at, units)


def test_lower_usage_after_approval_makes_a_correction_note() -> None:
    who = customer(tax="20")
    first = invoice_advance(period_id=who.january.pk, now=JAN).invoice
    assert first is not None
    settle_all(who.january)
    _, reader = closed_month(who, 61_250)
    corrected(reader, who, 55_000)
    outcome = usage_recheck(period_id=who.january.pk, reader=reader, expected=(), now=LATER)
    assert (outcome.invoice, outcome.changed) == (None, True)
    (note,) = outcome.notes
    assert (note.reason_code, note.created_by) == ("usage_corrected", None)
    assert (note.subtotal_minor, note.tax_minor) == (1440 - 600, 168)
    assert {k: b.amount_minor for k, b in billed_map(period=who.january).items()} == {
        "base": 4900,
        "calls": 600,
    }
    again = usage_recheck(period_id=who.january.pk, reader=reader, expected=(), now=LATER)
    assert (again.changed, CreditNote.objects.count()) == (False, 1)

    corrected(reader, who, 60_000)
    higher = usage_recheck(period_id=who.january.pk, reader=reader, expected=(), now=LATER)
    assert higher.invoice is not None
    assert (higher.invoice.kind, nets(higher.invoice)) == ("late", {"calls": 600})
    corrected(reader, who, 50_000)
    lower = usage_recheck(period_id=who.january.pk, reader=reader, expected=(), now=LATER)
    assert Invoice.objects.get(pk=higher.invoice.pk).state == "void"
    assert [n.subtotal_minor for n in lower.notes] == [600]


def test_what_fell_goes_off_the_newest_documents_first() -> None:
    who = customer()
    _, reader = closed_month(who, 61_250)
    reader.add(who.subscription.pk, JAN + timedelta(days=1), 10_000)
    late = usage_recheck(period_id=who.january.pk, reader=reader, expected=(), now=LATER).invoice
    assert late is not None
    assert nets(late) == {"calls": 1200}
    settle_all(who.january)
    corrected(reader, who, 0)
    notes = usage_recheck(period_id=who.january.pk, reader=reader, expected=(), now=LATER).notes
    assert [(n.invoice_id == late.pk, n.subtotal_minor) for n in notes] == [
        (True, 1200),
        (False, 1440),
    ]


def test_a_recheck_waits_for_a_document_that_is_leaving() -> None:
    who = customer()
    reader = FakeUsageReader(complete_to=LATER)
    reader.add(who.subscription.pk, JAN, 61_250)
    invoice = close(who, reader).invoice
    assert invoice is not None
    Invoice.objects.filter(pk=invoice.pk).update(state="approved")
    corrected(reader, who, 70_000)
    for _ in range(2):
        assert usage_recheck(period_id=who.january.pk, reader=reader, expected=(), now=LATER).waits
    settle_all(who.january)
    late = usage_recheck(period_id=who.january.pk, reader=reader, expected=(), now=LATER).invoice
    assert nets(late) == {"calls": 960}


def test_the_database_keeps_an_issued_note_and_the_ledger() -> None:
    invoice, _ = closed_month(customer(), 61_250)
    note = draft(invoice, {"calls": 400})
    frozen_rows_hold(invoice, note)


def frozen_rows_hold(invoice: Invoice, note: CreditNote) -> None:
    """Issue a note and a movement, and try every way to change them."""
    for state in ("approved", "issuing", "issued"):
        CreditNote.objects.filter(pk=note.pk).update(state=state)
    CreditNote.objects.filter(pk=note.pk).update(number="CN-2026-000001", pdf=b"%PDF")
    movement_record(
        invoice=invoice,
        kind=MovementKind.NOTE_APPLIED,
        amount_minor=400,
        key="k",
        at=LATER,
        note=note,
    )
    row = CreditNote.objects.filter(pk=note.pk)
    refused = (
        lambda: row.update(total_minor=1),
        lambda: row.update(reason="Another"),
        lambda: row.update(number="CN-2026-000002"),
        lambda: row.update(pdf=b"other"),
        lambda: row.update(state="void"),
        lambda: row.update(state="issuing"),
        lambda: row.delete(),
        lambda: note.lines.update(amount_minor=1),
        lambda: note.lines.all().delete(),
        lambda: note.lines.create(line_key="base", amount_minor=1),
        lambda: LedgerMovement.objects.update(amount_minor=1),
        lambda: LedgerMovement.objects.all().delete(),
    )
    for change in refused:
        with pytest.raises(IntegrityError), transaction.atomic():
            change()
    kept = CreditNote.objects.get(pk=note.pk)
    assert (kept.total_minor, kept.state, kept.lines.get().amount_minor) == (400, "issued", 400)


def test_a_note_is_typeset_the_same_each_time() -> None:
    invoice, _ = closed_month(customer(tax="20"), 61_250)
    note = draft(invoice, {"calls": 400})
    built = note_pdf(note=note)
    assert built.startswith(b"%PDF")
    assert built == note_pdf(note=note)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=6), st.sampled_from(["0", "7.7", "19"]))
def test_notes_that_take_everything_give_back_everything(parts: list[int], tax: str) -> None:
    with transaction.atomic():
        invoice, _ = closed_month(customer(tax=tax), 61_250)
        notes = []
        for part in parts:
            left = left_map(invoice=invoice).get("calls", 0)
            if left:
                notes.append(draft(invoice, {"calls": min(part, left)}))
        rest = {key: minor for key, minor in left_map(invoice=invoice).items() if minor}
        notes.append(draft(invoice, rest))
        assert sum(note.total_minor for note in notes) == invoice.total_minor
        assert sum(note.tax_minor for note in notes) == invoice.tax_minor
        assert all(note.total_minor >= 0 for note in notes)
        transaction.set_rollback(True)


def test_close_is_blocked_by_an_open_finding_of_that_customer_alone() -> None:
    who, other = customer(), customer(name="Other")
    at = datetime(2026, 2, 1, tzinfo=UTC)
    who.organization.findings.create(key="k", kind="collector", detail="differs", found_at=at)
    reader = FakeUsageReader(complete_to=LATER)
    assert close(who, reader).blockers == ("Unresolved: differs",)
    outcome = period_close(
        subscription_id=other.subscription.pk,
        period_id=other.january.pk,
        reader=reader,
        expected=(),
        grace_s=3600,
        now=LATER,
    )
    assert outcome.closed
