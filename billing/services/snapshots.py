"""Freezes usage: one immutable row per segment and meter, a new revision for every change."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from billing.models import UsageSnapshot
from billing.services.rated import MeterFact, Stretch
from portal.models import BillingPeriod, Subscription


def snapshots_take(
    *,
    subscription: Subscription,
    period: BillingPeriod,
    stretches: Sequence[Stretch],
    usage: Mapping[str, Mapping[str, MeterFact]],
    watermark: datetime,
    now: datetime,
    until: datetime | None = None,
) -> tuple[UsageSnapshot, ...]:
    """Store what differs from the newest revision; the same usage again stores nothing.

    Runs in the caller's transaction, behind the period's lock.

    until   where the usage was read to, if not to the end of each stretch
    """
    newest = newest_map(period=period)
    taken = []
    for stretch in stretches:
        end = stretch.ends_at if until is None else min(stretch.ends_at, until)
        ends_at = max(stretch.starts_at, end)
        for meter, fact in sorted(usage.get(stretch.segment.pk, {}).items()):
            was = newest.get((stretch.segment.pk, meter))
            if was is not None and not _differs(was, fact, ends_at):
                continue
            taken.append(
                UsageSnapshot.objects.create(
                    subscription=subscription,
                    segment=stretch.segment,
                    period=period,
                    plan_version=stretch.segment.plan_version,
                    plan_hash=stretch.segment.plan_version.content_hash,
                    meter=meter,
                    revision=was.revision + 1 if was else 1,
                    starts_at=stretch.starts_at,
                    ends_at=ends_at,
                    billed=fact.billed,
                    counted=fact.counted,
                    event_count=fact.event_count,
                    events=None if fact.events is None else [format(v, "f") for v in fact.events],
                    id_hash=fact.id_hash,
                    watermark=watermark,
                    taken_at=now,
                )
            )
    return tuple(taken)


def newest_map(*, period: BillingPeriod) -> dict[tuple[str, str], UsageSnapshot]:
    """Return the newest revision per (segment, meter)."""
    rows = UsageSnapshot.objects.filter(period=period).order_by("revision")
    return {(row.segment_id, row.meter): row for row in rows}


def frozen_usage(*, period: BillingPeriod) -> dict[str, dict[str, MeterFact]]:
    """Read the newest revisions as the usage to rate from."""
    facts: dict[str, dict[str, MeterFact]] = {}
    for (segment_id, meter), row in newest_map(period=period).items():
        events = None if row.events is None else tuple(Decimal(v) for v in row.events)
        facts.setdefault(segment_id, {})[meter] = MeterFact(
            meter=meter,
            billed=row.billed,
            counted=row.counted,
            event_count=row.event_count,
            id_hash=row.id_hash,
            events=events,
            snapshot_id=row.pk,
        )
    return facts


def _differs(was: UsageSnapshot, fact: MeterFact, ends_at: datetime) -> bool:
    return (was.billed, was.counted, was.event_count, was.id_hash, was.ends_at) != (
        fact.billed,
        fact.counted,
        fact.event_count,
        fact.id_hash,
        ends_at,
    )
