"""In-advance billing and re-rating: documents of the chain beside the close."""

from collections.abc import Iterator
from datetime import datetime

from django.db.models import Exists, F, OuterRef, Q, Subquery

from billing.models import Invoice, InvoiceKind
from billing.rating.rate import rate_document
from billing.services.close import period_draft
from billing.services.drafts import DraftOutcome, draft_write
from billing.services.kinds import flat_keys
from billing.services.rated import period_rate, stretch_list
from billing.states import RERATABLE, UNISSUED, InvoiceState
from portal.models import BillingPeriod, Segment


def invoice_advance(*, period_id: str, now: datetime) -> DraftOutcome:
    """Bill the in-advance fees of a period: at its start, a sign-up, an upgrade, a trial's end.

    Rated with no usage; the fees of the open stretch run to the period's end, unused old time is
    credited. Run again it finds no difference and writes nothing. After a void document the close
    takes over, so that a refusal by finance is not answered with the same draft again.
    """
    period = BillingPeriod.objects.select_related("subscription__organization").get(pk=period_id)
    subscription = period.subscription
    if period.closed_at is not None or now < period.starts_at:
        return DraftOutcome(None)
    trial = subscription.trial_ends_at
    if trial is not None and now < min(trial, period.ends_at):
        return DraftOutcome(None)
    last = Invoice.objects.filter(period=period).order_by("-n").first()
    if last is not None and not _may_advance(last):
        return DraftOutcome(last, waits=last.state in UNISSUED)
    stretches = stretch_list(subscription=subscription, period=period, now=now)
    if not flat_keys(stretches):
        return DraftOutcome(None)
    rating = period_rate(subscription=subscription, period=period, stretches=stretches, usage={})
    return draft_write(
        subscription=subscription,
        period=period,
        kind=InvoiceKind.ADVANCE,
        rating=rating,
        stretches=stretches,
        now=now,
    )


def _may_advance(last: Invoice) -> bool:
    if last.state == InvoiceState.VOID:
        return False
    return last.state not in UNISSUED or (
        last.state in RERATABLE and last.kind == InvoiceKind.ADVANCE
    )


def advance_due_list(*, now: datetime) -> Iterator[str]:
    """Yield the open periods that hold `now` and whose fees may have changed since last rated.

    That is: nothing is rated yet, or a segment began or ended or the trial ended since.
    """
    documents = Invoice.objects.filter(period=OuterRef("pk"))
    newest = documents.order_by("-rated_at").values("rated_at")[:1]
    changed = Segment.objects.filter(
        Q(starts_at__gt=OuterRef("since"), starts_at__lte=now)
        | Q(ends_at__gt=OuterRef("since"), ends_at__lte=now),
        subscription_id=OuterRef("subscription_id"),
    )
    trial_over = Q(
        subscription__trial_ends_at__gt=F("since"), subscription__trial_ends_at__lte=now
    )
    rows = (
        BillingPeriod.objects.filter(closed_at__isnull=True, starts_at__lte=now, ends_at__gt=now)
        .annotate(since=Subquery(newest))
        .filter(Q(since__isnull=True) | Exists(changed) | trial_over)
    )
    ids = rows.order_by("starts_at", "pk").values_list("pk", flat=True)
    return ids.iterator(chunk_size=500)


def invoice_rerate(*, invoice_id: str, now: datetime) -> DraftOutcome:
    """Rate an unapproved draft again from its frozen usage; the difference is kept on it."""
    invoice = Invoice.objects.select_related("period__subscription__organization").get(
        pk=invoice_id
    )
    if invoice.state not in RERATABLE:
        return DraftOutcome(invoice, waits=True)
    if invoice.kind == InvoiceKind.ADVANCE:
        return invoice_advance(period_id=invoice.period_id, now=now)
    subscription = invoice.period.subscription
    return period_draft(
        subscription=subscription,
        period=invoice.period,
        stretches=stretch_list(subscription=subscription, period=invoice.period, now=now),
        kind=InvoiceKind(invoice.kind),
        now=now,
    )


def rerate_differences(*, invoice: Invoice) -> tuple[str, ...]:
    """Rate the document that went in again, and add the lines up: empty = the same to the cent.

    Every document of a chain keeps its own rating document, so each is held against what it was
    rated from, whatever has become of its period since.
    """
    rated = {
        row["line_key"]: (row["amount_minor"], row["discount_minor"])
        for row in rate_document(invoice.rating_input)["lines"]
    }
    lines = list(invoice.lines.all())
    found = [
        f"{line.line_key}: {line.rated_amount_minor}, rated again {again[0]}"
        for line in lines
        if (again := rated.get(line.line_key, (0, 0)))
        != (line.rated_amount_minor, line.rated_discount_minor)
    ]
    plain = sum(line.amount_minor for line in lines if not line.is_adjustment)
    adjusted = sum(line.amount_minor for line in lines if line.is_adjustment)
    discount = sum(line.discount_minor for line in lines)
    total = plain - discount + adjusted - invoice.credit_minor + invoice.tax_minor
    if (plain, discount, adjusted, total) != (
        invoice.subtotal_minor,
        invoice.discount_minor,
        invoice.adjustment_minor,
        invoice.total_minor,
    ):
        found.append(f"total: {invoice.total_minor}, its lines give {total}")
    return tuple(found)
