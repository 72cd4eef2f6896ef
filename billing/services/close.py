"""Closes a billing period: proven complete, frozen, rated, drafted (`architecture.md` §4.7).

Every step may run again: the snapshot rows, the chain and the period's `closed_at` are unique or
compare-and-set, so that a second runner or a killed one changes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from billing.locks import period_lock
from billing.models import Finding, Invoice, InvoiceKind, Rebill
from billing.services.drafts import DraftOutcome, draft_give_way, draft_write
from billing.services.rated import Stretch, period_rate, stretch_list, usage_read
from billing.services.snapshots import frozen_usage, snapshots_take
from billing.services.usage_credits import fell_minor, usage_credits_draft
from billing.states import RERATABLE, UNISSUED
from metering.queries import ExpectedBoot, UsageReader, Watermark
from portal.models import BillingPeriod, Subscription
from portal.queue import enqueue_on_commit

LATE_LOOK_BACK: Final = timedelta(days=35)
PAGE: Final = 500  # rows that a scan holds at a time


@dataclass(frozen=True, slots=True)
class CloseOutcome:
    """What a run did. `blockers` are sentences for the close board; empty = closed."""

    closed: bool
    invoice: Invoice | None = None
    blockers: tuple[str, ...] = field(default=())


def period_close(
    *,
    subscription_id: str,
    period_id: str,
    reader: UsageReader,
    expected: Sequence[ExpectedBoot],
    grace_s: int,
    now: datetime,
) -> CloseOutcome:
    """Close one period of one subscription, or say what stands in the way.

    :raises MeteringUnavailableError: when usage cannot be read; nothing is changed then.
    """
    period = BillingPeriod.objects.select_related("subscription__organization").get(
        pk=period_id, subscription_id=subscription_id
    )
    if period.closed_at is not None:
        return CloseOutcome(True)
    watermark = reader.watermark(expected=expected, now=now)
    blockers = close_blockers(
        period=period, reader=reader, watermark=watermark, grace_s=grace_s, now=now
    )
    if blockers or watermark.at is None:
        return CloseOutcome(False, blockers=blockers)
    stretches = stretch_list(subscription=period.subscription, period=period, now=now)
    usage = usage_read(reader=reader, subscription=period.subscription, stretches=stretches)
    with transaction.atomic():
        if period_lock(period.pk).closed_at is not None:
            return CloseOutcome(True)  # by a quicker runner, who may have read more than this one
        if stretches:
            snapshots_take(
                subscription=period.subscription,
                period=period,
                stretches=stretches,
                usage=usage,
                watermark=watermark.at,
                now=now,
            )
        outcome = period_draft(
            subscription=period.subscription,
            period=period,
            stretches=stretches,
            kind=InvoiceKind.PERIOD,
            now=now,
        )
        if outcome.waits:
            return CloseOutcome(False, blockers=("An earlier invoice of the period is leaving.",))
        BillingPeriod.objects.filter(pk=period.pk, closed_at__isnull=True).update(closed_at=now)
    return CloseOutcome(True, outcome.invoice)


def close_blockers(
    *,
    period: BillingPeriod,
    reader: UsageReader,
    watermark: Watermark,
    grace_s: int,
    now: datetime,
) -> tuple[str, ...]:
    """List what stands in the way of a close, as sentences."""
    needed = period.ends_at + timedelta(seconds=grace_s)
    blockers = []
    if now < needed:
        blockers.append(f"The period and its grace end at {needed:%Y-%m-%d %H:%M} UTC.")
    elif watermark.at is None or watermark.at < needed:
        held = ", ".join(f"{k}: {v}" for k, v in watermark.held_by.items()) or "no proof yet"
        blockers.append(f"Usage is not proven complete ({held}).")
    if not blockers:
        letters = reader.dead_letters(start=period.starts_at, end=period.ends_at)
        if letters:
            blockers.append(f"{letters} dead letters touch the period.")
    organization_id = period.subscription.organization_id
    breaks = Finding.objects.filter(organization_id=organization_id, resolved_at__isnull=True)
    blockers += [f"Unresolved: {row.detail}" for row in breaks[:5]]
    return tuple(blockers)


def period_draft(
    *,
    subscription: Subscription,
    period: BillingPeriod,
    stretches: Sequence[Stretch],
    kind: InvoiceKind,
    now: datetime,
) -> DraftOutcome:
    """Rate the frozen usage of a period and write the draft that takes everything."""
    if not stretches:
        return DraftOutcome(None)
    rating = period_rate(
        subscription=subscription,
        period=period,
        stretches=stretches,
        usage=frozen_usage(period=period),
    )
    return draft_write(
        subscription=subscription,
        period=period,
        kind=kind,
        rating=rating,
        stretches=stretches,
        now=now,
    )


def usage_recheck(
    *,
    period_id: str,
    reader: UsageReader,
    expected: Sequence[ExpectedBoot],
    now: datetime,
) -> DraftOutcome:
    """Look again at a closed period: usage that came late or was corrected makes a new revision.

    An unapproved draft is rated again with a visible difference. After approval a `late` invoice
    follows, or credit notes where the period fell. Nothing that was issued is touched.
    """
    period = BillingPeriod.objects.select_related("subscription__organization").get(pk=period_id)
    watermark = reader.watermark(expected=expected, now=now)
    if period.closed_at is None or watermark.at is None:
        return DraftOutcome(None)
    stretches = stretch_list(subscription=period.subscription, period=period, now=now)
    usage = usage_read(reader=reader, subscription=period.subscription, stretches=stretches)
    with transaction.atomic():
        period_lock(period.pk)
        held = Invoice.objects.filter(period=period, state__in=UNISSUED).first()
        if held is not None and held.state not in RERATABLE:
            return DraftOutcome(held, waits=True)  # before a revision is taken, or it were lost
        taken = snapshots_take(
            subscription=period.subscription,
            period=period,
            stretches=stretches,
            usage=usage,
            watermark=watermark.at,
            now=now,
        )
        if not taken and held is None and _is_settled(period):
            return DraftOutcome(None)
        return _corrected(period, stretches, held, now)


def period_rebill(*, period_id: str, now: datetime) -> DraftOutcome:
    """Bill again what a void document of a closed period had billed, from the frozen usage.

    However long ago it was closed: the log is not read, so that it may be gone by now.
    """
    with transaction.atomic():
        period = period_lock(period_id)
        if period.closed_at is None or not Rebill.objects.filter(pk=period_id).exists():
            return DraftOutcome(None)
        held = Invoice.objects.filter(period=period, state__in=UNISSUED).first()
        if held is not None and held.state not in RERATABLE:
            return DraftOutcome(held, waits=True)
        stretches = stretch_list(subscription=period.subscription, period=period, now=now)
        Rebill.objects.filter(pk=period_id).delete()
        return _corrected(period, stretches, held, now)


def rebill_enqueue() -> int:
    """Send a task per closed period of which a document became void."""
    rows = Rebill.objects.filter(period__closed_at__isnull=False).order_by("pk")
    count = 0
    for period_id in rows.values_list("pk", flat=True).iterator(chunk_size=PAGE):
        enqueue_on_commit("billing.period_rebill", period_id=period_id)
        count += 1
    return count


def _corrected(
    period: BillingPeriod, stretches: Sequence[Stretch], held: Invoice | None, now: datetime
) -> DraftOutcome:
    """Bill what rose, credit what fell; a late draft that would end below zero gives way."""
    subscription = period.subscription
    if not stretches:
        return DraftOutcome(None)
    lines = period_rate(
        subscription=subscription,
        period=period,
        stretches=stretches,
        usage=frozen_usage(period=period),
    ).lines
    late = held if held is not None and held.kind == InvoiceKind.LATE else None
    if late is not None and fell_minor(period=period, lines=lines, without=late):
        draft_give_way(held=late)
        held = None
    notes = () if held else usage_credits_draft(period=period, lines=lines, now=now)
    outcome = period_draft(
        subscription=subscription,
        period=period,
        stretches=stretches,
        kind=InvoiceKind(held.kind) if held is not None else InvoiceKind.LATE,
        now=now,
    )
    return replace(outcome, notes=notes, changed=outcome.changed or bool(notes))


def _is_settled(period: BillingPeriod) -> bool:
    """True unless the newest document is void: what it billed is open again."""
    last = Invoice.objects.filter(period=period).order_by("-n").first()
    return last is None or last.state != "void"


def due_list(*, now: datetime, grace_s: int) -> "QuerySet[BillingPeriod]":
    """Return every period that is over and not closed, oldest first."""
    edge = now - timedelta(seconds=grace_s)
    rows = BillingPeriod.objects.filter(closed_at__isnull=True, ends_at__lte=edge)
    return rows.order_by("ends_at", "pk")


def due_enqueue(*, now: datetime, grace_s: int) -> int:
    """Send one close task per period that is due, however many there are."""
    count = 0
    for row in due_list(now=now, grace_s=grace_s).iterator(chunk_size=PAGE):
        enqueue_on_commit(
            "billing.period_close", subscription_id=row.subscription_id, period_id=row.pk
        )
        count += 1
    return count


def grace_s() -> int:
    """Return the grace after a period's end; a sandbox closes at once."""
    return 0 if settings.ENV.sandbox else int(settings.ENV.grace_s)


def late_enqueue(*, now: datetime) -> int:
    """Send one task per subscription of which a period closed lately."""
    rows = BillingPeriod.objects.filter(closed_at__gt=now - LATE_LOOK_BACK)
    ids = rows.order_by("subscription_id").values_list("subscription_id", flat=True).distinct()
    count = 0
    for subscription_id in ids.iterator(chunk_size=PAGE):
        enqueue_on_commit("billing.subscription_recheck", subscription_id=subscription_id)
        count += 1
    return count


def subscription_recheck(
    *, subscription_id: str, reader: UsageReader, expected: Sequence[ExpectedBoot], now: datetime
) -> int:
    """Recheck the periods of one subscription that closed lately; return how many changed."""
    rows = BillingPeriod.objects.filter(
        subscription_id=subscription_id, closed_at__gt=now - LATE_LOOK_BACK
    )
    changed = 0
    for period_id in rows.order_by("closed_at").values_list("pk", flat=True):
        outcome = usage_recheck(period_id=period_id, reader=reader, expected=expected, now=now)
        changed += outcome.changed
    return changed
