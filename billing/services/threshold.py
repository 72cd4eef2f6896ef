"""Threshold invoices: usage that reaches an amount is invoiced before the period ends.

The subscription's own threshold goes before its plan's; 0 there switches it off. Each document
keeps its own usage snapshot, proven complete to its end, and bills the difference against the
chain, so that the close bills exactly the rest.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

from django.db import transaction
from django.db.models import Q

from billing.locks import period_lock
from billing.models import Invoice, InvoiceKind
from billing.services.chain import RatedLine, differences
from billing.services.close import period_draft
from billing.services.drafts import DraftOutcome, billed_map
from billing.services.rated import Stretch, period_rate, stretch_list, usage_read
from billing.services.snapshots import snapshots_take
from billing.states import RERATABLE, UNISSUED, InvoiceState
from metering.queries import ExpectedBoot, UsageReader
from portal.models import BillingPeriod


def threshold_check(
    *,
    period_id: str,
    reader: UsageReader,
    expected: Sequence[ExpectedBoot],
    now: datetime,
) -> DraftOutcome:
    """Draft a threshold invoice where unbilled usage has reached the amount; idempotent.

    A document that waits for finance is left as it was reviewed, and after a void one the close
    takes over, so that a refusal is not answered with the same draft again.

    :raises MeteringUnavailableError: when usage cannot be read; nothing is changed then.
    """
    period = BillingPeriod.objects.select_related("subscription__organization").get(pk=period_id)
    if period.closed_at is not None or not _may_draft(period):
        return DraftOutcome(None)
    stretches = stretch_list(subscription=period.subscription, period=period, now=now)
    limit = _threshold_minor(period, stretches)
    watermark = reader.watermark(expected=expected, now=now).at
    if limit <= 0 or watermark is None or watermark <= period.starts_at:
        return DraftOutcome(None)
    until = min(watermark, period.ends_at)
    usage = usage_read(
        reader=reader, subscription=period.subscription, stretches=stretches, until=until
    )
    rating = period_rate(
        subscription=period.subscription, period=period, stretches=stretches, usage=usage
    )
    if unbilled_minor(period=period, lines=rating.lines) < limit:
        return DraftOutcome(None)
    with transaction.atomic():
        period_lock(period.pk)
        if not _may_draft(period):
            return DraftOutcome(None)
        snapshots_take(
            subscription=period.subscription,
            period=period,
            stretches=stretches,
            usage=usage,
            watermark=watermark,
            until=until,
            now=now,
        )
        return period_draft(
            subscription=period.subscription,
            period=period,
            stretches=stretches,
            kind=InvoiceKind.THRESHOLD,
            now=now,
        )


def unbilled_minor(*, period: BillingPeriod, lines: Sequence[RatedLine]) -> int:
    """Return what metered lines are worth beyond what the chain has billed of them."""
    billed = {k: b for k, b in billed_map(period=period).items() if b.line.meter}
    rows = differences([line for line in lines if line.meter], billed)
    return sum(row.net_minor for row in rows)


def _may_draft(period: BillingPeriod) -> bool:
    last = Invoice.objects.filter(period=period).order_by("-n").first()
    if last is None or last.state not in UNISSUED:
        return last is None or last.state != InvoiceState.VOID
    return last.state in RERATABLE and last.kind == InvoiceKind.ADVANCE


def _threshold_minor(period: BillingPeriod, stretches: Sequence[Stretch]) -> int:
    own = period.subscription.threshold_minor
    if own is not None:
        return own
    plan = stretches[-1].segment.plan_version.threshold_minor if stretches else None
    return plan or 0


def threshold_due_list(*, now: datetime) -> Iterator[str]:
    """Yield the open periods that hold `now` and have a threshold, page by page."""
    own = Q(subscription__threshold_minor__gt=0)
    of_plan = Q(
        subscription__threshold_minor__isnull=True,
        subscription__segments__plan_version__threshold_minor__gt=0,
    )
    rows = BillingPeriod.objects.filter(
        own | of_plan, closed_at__isnull=True, starts_at__lte=now, ends_at__gt=now
    )
    ids = rows.order_by("pk").distinct().values_list("pk", flat=True)
    return ids.iterator(chunk_size=500)
