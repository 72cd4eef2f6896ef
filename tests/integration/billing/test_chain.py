"""The chain of a period: in advance, after an upgrade, at the close, late, after a void."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from django.db import IntegrityError, transaction

from billing.errors import InvoiceStateError, StaleApprovalError
from billing.models import Invoice, InvoiceLine, UsageSnapshot
from billing.services.close import (
    CloseOutcome,
    period_close,
    period_rebill,
    rebill_enqueue,
    usage_recheck,
)
from billing.services.documents import document_data
from billing.services.invoices import invoice_advance
from billing.services.review import (
    clean_approve,
    draft_void,
    invoice_approve,
    invoice_hold,
    invoice_move,
)
from billing.states import InvoiceState
from portal.core.plan_terms import Terms, parse_terms
from portal.models import AuditEvent, BillingPeriod
from tests.factories.billing import (
    FEB,
    JAN,
    Customer,
    customer,
    finance_user,
    plan_changed,
    plan_version,
    pro_terms,
)
from tests.fakes.usage import FakeUsageReader

pytestmark = pytest.mark.django_db
MID = datetime(2026, 1, 16, tzinfo=UTC)
LATER = FEB + timedelta(hours=2)


def close(who: Customer, reader: FakeUsageReader, now: datetime = LATER) -> CloseOutcome:
    return period_close(
        subscription_id=who.subscription.pk,
        period_id=who.january.pk,
        reader=reader,
        expected=(),
        grace_s=3600,
        now=now,
    )


def settle_all(period: BillingPeriod) -> None:
    """Take the period's draft as issued and paid, move by move, as the issuing would."""
    for before, after in pairwise(("draft", "approved", "issuing", "open", "paid")):
        Invoice.objects.filter(period=period, state=before).update(state=after)


def nets(invoice: Invoice | None) -> dict[str, int]:
    assert invoice is not None
    return {line.line_key: line.net_minor for line in invoice.lines.all()}


def test_advance_upgrade_period_late() -> None:
    who = customer()
    first = invoice_advance(period_id=who.january.pk, now=JAN).invoice
    assert nets(first) == {"base": 4900}
    settle_all(who.january)

    bigger = plan_version(slug="scale", terms=pro_terms(base="199.00"))
    plan_changed(who.subscription, to=bigger, at=MID)
    second = invoice_advance(period_id=who.january.pk, now=MID).invoice
    assert second is not None
    assert (second.n, sorted(nets(second).values())) == (2, [-2529, 10271])
    assert second.total_minor == 12642 - 4900
    settle_all(who.january)

    reader = FakeUsageReader(complete_to=LATER)
    reader.add(who.subscription.pk, JAN, 40_000)
    reader.add(who.subscription.pk, MID, 12_000)
    third = close(who, reader).invoice
    assert third is not None
    assert (third.n, third.kind, third.total_minor) == (3, "period", 240)
    settle_all(who.january)

    reader.add(who.subscription.pk, MID + timedelta(days=1), 1)
    late = usage_recheck(period_id=who.january.pk, reader=reader, expected=(), now=LATER).invoice
    assert late is not None
    assert (late.n, late.kind, late.total_minor) == (4, "late", 120)
    assert UsageSnapshot.objects.filter(period=who.january, revision=2).count() == 1
    assert "late_usage" in late.flags

    billed = InvoiceLine.objects.filter(invoice__period=who.january)
    assert sum(line.net_minor for line in billed) == 12642 + 360


def test_the_same_again_writes_nothing() -> None:
    who = customer()
    reader = FakeUsageReader(complete_to=LATER)
    reader.add(who.subscription.pk, JAN, 61_250)
    first = invoice_advance(period_id=who.january.pk, now=JAN).invoice
    again = invoice_advance(period_id=who.january.pk, now=JAN + timedelta(days=3))
    assert (again.invoice, again.changed) == (first, False)
    assert close(who, reader).closed
    assert close(who, reader) == CloseOutcome(True)
    assert Invoice.objects.count() == 1
    assert Invoice.objects.get().total_minor == 4900 + 1440


def test_a_second_runner_in_the_middle_changes_nothing() -> None:
    who = customer()
    reader = FakeUsageReader(complete_to=LATER)
    reader.add(who.subscription.pk, JAN, 61_250)
    inner: list[CloseOutcome] = []
    reader.on_read = lambda: inner.append(close(who, reader))
    assert close(who, reader).closed
    assert Invoice.objects.filter(period=who.january).count() == 1
    assert UsageSnapshot.objects.filter(period=who.january).count() == 1


@pytest.mark.parametrize(
    ("case", "complete_to", "letters", "text"),
    [
        ("a silent node", FEB, 0, "not proven complete (n1: silent)"),
        ("nothing proven yet", None, 0, "not proven complete"),
        ("a dead letter", LATER, 1, "1 dead letters"),
    ],
)
def test_a_blocked_close_changes_nothing(
    case: str, complete_to: datetime | None, letters: int, text: str
) -> None:
    who = customer()
    reader = FakeUsageReader(complete_to=complete_to, letters=letters)
    outcome = close(who, reader)
    assert not outcome.closed, case
    assert text in outcome.blockers[0]
    assert not UsageSnapshot.objects.exists()
    assert BillingPeriod.objects.get(pk=who.january.pk).closed_at is None


def test_a_void_document_is_picked_up_by_the_next() -> None:
    who, finance = customer(), finance_user()
    first = invoice_advance(period_id=who.january.pk, now=JAN).invoice
    assert first is not None
    draft_void(invoice_id=first.pk, reason="wrong address", actor=finance, now=JAN)
    assert invoice_advance(period_id=who.january.pk, now=MID).changed is False
    outcome = close(who, FakeUsageReader(complete_to=LATER))
    assert outcome.invoice is not None
    assert (outcome.invoice.n, nets(outcome.invoice)["base"]) == (2, 4900)


def test_a_runner_that_read_less_and_comes_later_takes_nothing_back() -> None:
    """It read the log before a late call, and gets the lock when the period is closed and paid."""
    who = customer()
    early, whole = FakeUsageReader(complete_to=LATER), FakeUsageReader(complete_to=LATER)
    early.add(who.subscription.pk, JAN, 51_000)
    whole.add(who.subscription.pk, JAN, 51_000)
    whole.add(who.subscription.pk, MID, 10_000)

    def quicker() -> None:
        assert close(who, whole).closed
        settle_all(who.january)

    early.on_read = quicker
    assert close(who, early).closed
    assert [i.total_minor for i in Invoice.objects.all()] == [4900 + 1320]
    assert UsageSnapshot.objects.filter(period=who.january).count() == 1


@pytest.mark.parametrize("days", [0, 60])
def test_an_earlier_document_that_becomes_void_after_the_close_is_billed_again(days: int) -> None:
    """Also behind the 35 days of late usage, and where the newest document stands."""
    who, reader = customer(), FakeUsageReader(complete_to=LATER)
    reader.add(who.subscription.pk, JAN, 61_250)
    first = invoice_advance(period_id=who.january.pk, now=JAN).invoice
    settle_all(who.january)
    second = close(who, reader).invoice
    settle_all(who.january)
    assert (nets(first), nets(second)) == ({"base": 4900}, {"calls": 1440})

    at = LATER + timedelta(days=days)
    Invoice.objects.filter(n=1).update(state="open")
    void = Invoice.objects.get(n=1)
    invoice_move(invoice=void, target=InvoiceState.VOID, action="invoice.void", now=at)
    reader.events.clear()  # the log is gone by then: what was frozen counts
    assert rebill_enqueue() == 1
    third = period_rebill(period_id=who.january.pk, now=at).invoice
    assert (nets(third), rebill_enqueue()) == ({"base": 4900}, 0)
    assert period_rebill(period_id=who.january.pk, now=at).invoice is None


def test_a_rebill_waits_for_a_document_that_is_leaving() -> None:
    who, reader = customer(), FakeUsageReader(complete_to=LATER)
    invoice_advance(period_id=who.january.pk, now=JAN)
    settle_all(who.january)
    reader.add(who.subscription.pk, JAN, 61_250)
    assert close(who, reader).closed
    Invoice.objects.filter(n=1).update(state="open")
    Invoice.objects.filter(n=2).update(state="approved")
    void = Invoice.objects.get(n=1)
    invoice_move(invoice=void, target=InvoiceState.VOID, action="invoice.void", now=LATER)
    assert period_rebill(period_id=who.january.pk, now=LATER).waits
    assert rebill_enqueue() == 1


def test_approval_covers_the_hash() -> None:
    who, finance = customer(), finance_user()
    draft = invoice_advance(period_id=who.january.pk, now=JAN).invoice
    assert draft is not None
    with pytest.raises(StaleApprovalError):
        invoice_approve(invoice_id=draft.pk, content_hash="0" * 64, actor=finance, now=JAN)
    assert Invoice.objects.get(pk=draft.pk).state == "draft"
    assert not AuditEvent.objects.filter(action="invoice.approve").exists()

    seen = draft.content_hash
    bigger = plan_version(slug="scale", terms=pro_terms(base="199.00"))
    plan_changed(who.subscription, to=bigger, at=MID)
    changed = invoice_advance(period_id=who.january.pk, now=MID).invoice
    assert changed is not None
    assert next(iter(changed.rerate_diff))["line_key"].startswith("base")
    with pytest.raises(StaleApprovalError):
        invoice_approve(invoice_id=draft.pk, content_hash=seen, actor=finance, now=MID)
    invoice_approve(invoice_id=draft.pk, content_hash=changed.content_hash, actor=finance, now=MID)
    assert AuditEvent.objects.get(action="invoice.approve").actor == finance
    with pytest.raises(InvoiceStateError):
        invoice_approve(
            invoice_id=draft.pk, content_hash=changed.content_hash, actor=finance, now=MID
        )


def test_bulk_approval_leaves_flagged_and_changed_drafts() -> None:
    who, finance = customer(), finance_user()
    draft = invoice_advance(period_id=who.january.pk, now=JAN).invoice
    assert draft is not None
    assert "first_invoice" in draft.flags
    assert clean_approve(actor=finance, now=JAN, hashes={draft.pk: draft.content_hash}) == (0, 1)
    Invoice.objects.filter(pk=draft.pk).update(flags=[])
    assert clean_approve(actor=finance, now=JAN, hashes={draft.pk: "old"}) == (0, 1)
    assert clean_approve(actor=finance, now=JAN, hashes={draft.pk: draft.content_hash}) == (1, 0)


def test_a_held_document_waits_and_says_why() -> None:
    who, finance = customer(), finance_user()
    draft = invoice_advance(period_id=who.january.pk, now=JAN).invoice
    assert draft is not None
    held = invoice_hold(invoice_id=draft.pk, reason="ask sales", actor=finance, now=JAN)
    assert (held.state, held.hold_reason) == ("held", "ask sales")
    with pytest.raises(InvoiceStateError):
        invoice_approve(
            invoice_id=draft.pk, content_hash=draft.content_hash, actor=finance, now=JAN
        )


def test_the_database_refuses_changes_of_what_was_issued() -> None:
    who = customer()
    reader = FakeUsageReader(complete_to=LATER)
    reader.add(who.subscription.pk, JAN, 61_250)
    invoice = close(who, reader).invoice
    assert invoice is not None
    settle_all(who.january)
    refused = (
        lambda: Invoice.objects.filter(pk=invoice.pk).update(total_minor=1),
        lambda: Invoice.objects.filter(pk=invoice.pk).update(state="draft"),
        lambda: invoice.lines.update(amount_minor=1),
        lambda: invoice.lines.all().delete(),
        lambda: UsageSnapshot.objects.update(billed="1"),
        lambda: UsageSnapshot.objects.all().delete(),
    )
    for change in refused:
        with pytest.raises(IntegrityError), transaction.atomic():
            change()
    assert Invoice.objects.get(pk=invoice.pk).total_minor == invoice.total_minor


def test_tax_and_credit_are_of_the_document() -> None:
    terms = pro_terms() | {"credits": [{"amount": "20.00"}]}
    who = customer(version=plan_version(terms=terms), tax="20")
    first = invoice_advance(period_id=who.january.pk, now=JAN).invoice
    assert first is not None
    assert (first.subtotal_minor, first.credit_minor, first.tax_minor) == (4900, 2000, 580)
    assert first.total_minor == 3480
    settle_all(who.january)
    reader = FakeUsageReader(complete_to=LATER)
    reader.add(who.subscription.pk, JAN, 61_250)
    second = close(who, reader).invoice
    assert second is not None
    assert (second.subtotal_minor, second.credit_minor, second.tax_minor) == (1440, 0, 288)


def test_a_long_description_of_a_price_is_cut_to_the_lines_column() -> None:
    """PostgreSQL would refuse it whole, and the period could never be drafted."""
    terms = pro_terms()
    terms["prices"][0]["description"] = "d" * 500
    assert isinstance(parse_terms(terms), Terms)
    draft = invoice_advance(
        period_id=customer(version=plan_version(terms=terms)).january.pk, now=JAN
    )
    assert draft.invoice is not None
    longest = InvoiceLine._meta.get_field("description").max_length
    assert [len(line.description) for line in draft.invoice.lines.all()] == [longest]


@pytest.mark.parametrize(
    ("rates", "printed", "tax_minor"),
    [(["20"], "20", 980), (["5", "9.975"], "5 + 9.975", 245 + 489)],
)
def test_an_invoice_prints_the_rate_that_it_was_taxed_at(
    rates: list[str], printed: str, tax_minor: int
) -> None:
    """The plan's own tax goes before the customer's rate, on the paper too."""
    terms = pro_terms() | {"tax": [{"rate": rate} for rate in rates]}
    who = customer(version=plan_version(terms=terms), tax="7")
    invoice = invoice_advance(period_id=who.january.pk, now=JAN).invoice
    assert invoice is not None
    assert (invoice.tax_minor, invoice.tax_rate_percent) == (tax_minor, printed)
    totals = document_data(invoice=invoice)["totals"]
    assert totals[-1][0] == f"Tax ({printed} %)"
