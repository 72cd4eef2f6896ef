"""Freezes usage: one immutable row per segment and meter, a new revision for every change."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
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
) -> tuple[UsageSnapshot, ...]:
    """Store what differs from the newest revision; the same usage again stores nothing.

    Runs in the caller's transaction, behind the period's lock.
    """
    newest = newest_map(period=period)
    taken = []
    for stretch in stretches:
        for meter, fact in sorted(usage.get(stretch.segment.pk, {}).items()):
            was = newest.get((stretch.segment.pk, meter))
            if was is not None and not _differs(was, fact):
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
                    ends_at=stretch.ends_at,
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


def _differs(was: UsageSnapshot, fact: MeterFact) -> bool:
    held = replace(fact, snapshot_id="")
    return (was.billed, was.counted, was.event_count, was.id_hash) != (
        held.billed,
        held.counted,
        held.event_count,
        held.id_hash,
    )
