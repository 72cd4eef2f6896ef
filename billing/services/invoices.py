"""In-advance billing and re-rating: documents of the chain beside the close."""

from datetime import datetime

from billing.models import Invoice, InvoiceKind
from billing.services.close import period_draft
from billing.services.drafts import DraftOutcome, draft_write, flat_keys
from billing.services.rated import period_rate, stretch_list
from billing.services.snapshots import frozen_usage
from billing.states import RERATABLE, UNISSUED, InvoiceState
from portal.models import BillingPeriod


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
    keys = flat_keys(stretches)
    if not keys:
        return DraftOutcome(None)
    rating = period_rate(subscription=subscription, period=period, stretches=stretches, usage={})
    lines = [x for x in rating.lines if x.price_key in keys and not x.is_adjustment]
    return draft_write(
        subscription=subscription,
        period=period,
        kind=InvoiceKind.ADVANCE,
        rating=rating,
        lines=lines,
        stretches=stretches,
        now=now,
    )


def _may_advance(last: Invoice) -> bool:
    if last.state == InvoiceState.VOID:
        return False
    return last.state not in UNISSUED or (
        last.state in RERATABLE and last.kind == InvoiceKind.ADVANCE
    )


def advance_due_list(*, now: datetime, limit: int = 500) -> list[str]:
    """Return ids of open periods that hold `now`, for the scan of in-advance fees."""
    rows = BillingPeriod.objects.filter(
        closed_at__isnull=True, starts_at__lte=now, ends_at__gt=now
    )
    return list(rows.order_by("starts_at", "pk").values_list("pk", flat=True)[:limit])


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


def rerate_matches(*, invoice: Invoice, now: datetime) -> bool:
    """Say whether rating the frozen usage today gives the document that went in, to the byte."""
    subscription = invoice.period.subscription
    stretches = stretch_list(subscription=subscription, period=invoice.period, now=now)
    usage = {} if invoice.kind == InvoiceKind.ADVANCE else frozen_usage(period=invoice.period)
    rating = period_rate(
        subscription=subscription, period=invoice.period, stretches=stretches, usage=usage
    )
    amounts = {x.line_key: (x.amount_minor, x.discount_minor) for x in rating.lines}
    return all(
        amounts.get(x.line_key, (0, 0)) == (x.rated_amount_minor, x.rated_discount_minor)
        for x in invoice.lines.all()
    )
