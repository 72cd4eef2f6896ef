"""Rates a subscription's period: the one road from rows to the rating function.

Gauge, projection, preview, draft and invoice all come through `period_rate`; what differs is only
where the usage comes from (live tables for estimates, frozen usage snapshots for documents).
Credits and tax are no part of it: `settle` works them out for one document, from its own lines.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from billing.rating.rate import ENGINE_VERSION, rate_document
from billing.services.chain import Difference, RatedLine
from gateway.contracts.access_log import format_time, parse_time
from metering.queries import UsageReader
from portal.core.money import minor_to_major
from portal.core.plan_terms import EVENTS_ONLY
from portal.models import BillingPeriod, Segment, Subscription

__all__ = [
    "ENGINE_VERSION",
    "MeterFact",
    "PeriodRating",
    "Settlement",
    "Stretch",
    "period_rate",
    "settle",
    "stretch_list",
    "usage_read",
]


@dataclass(frozen=True, slots=True)
class MeterFact:
    """A meter's usage in one stretch; `events` only where a price needs each value."""

    meter: str
    billed: Decimal
    counted: Decimal = Decimal(0)
    event_count: int = 0
    id_hash: str = ""
    events: tuple[Decimal, ...] | None = None
    snapshot_id: str = ""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A segment's part of one period, `[starts_at, ends_at)`.

    rated_to   the open segment is rated to the period's end; usage is read to `ends_at`
    """

    segment: Segment
    starts_at: datetime
    ends_at: datetime

    @property
    def meters(self) -> frozenset[str]:
        prices = self.segment.plan_version.terms.get("prices", [])
        return frozenset(p["meter"] for p in prices if p.get("meter"))


@dataclass(frozen=True, slots=True)
class PeriodRating:
    """A period rated as a whole: the document that went in and the lines that came out."""

    document: dict[str, Any]
    lines: tuple[RatedLine, ...]
    evidence: Mapping[str, tuple[str, ...]]  # line_key -> usage snapshot ids


@dataclass(frozen=True, slots=True)
class Settlement:
    """A document's totals, and what it draws from each credit (in the order given)."""

    subtotal_minor: int
    discount_minor: int
    adjustment_minor: int
    credit_minor: int
    tax_minor: int
    total_minor: int
    draws_minor: tuple[int, ...] = ()


def stretch_list(
    *, subscription: Subscription, period: BillingPeriod, now: datetime
) -> tuple[Stretch, ...]:
    """Return the stretches of a period that have begun; the open one runs to the period's end.

    A change that is scheduled but not yet in force is left out, as if it were never planned.
    """
    rows = (
        subscription.segments.select_related("plan_version__plan")
        .filter(starts_at__lt=period.ends_at, starts_at__lte=now)
        .order_by("starts_at")
    )
    stretches = []
    for segment in rows:
        over = segment.ends_at if segment.ends_at and segment.ends_at <= now else period.ends_at
        start, end = max(segment.starts_at, period.starts_at), min(over, period.ends_at)
        if start < end:
            stretches.append(Stretch(segment, start, end))
    return tuple(stretches)


def usage_read(
    *,
    reader: UsageReader,
    subscription: Subscription,
    stretches: Sequence[Stretch],
    until: datetime | None = None,
) -> dict[str, dict[str, MeterFact]]:
    """Read live usage per segment and meter, up to `until` where that comes sooner."""
    needing = event_meters(stretches)
    facts: dict[str, dict[str, MeterFact]] = {}
    for stretch in stretches:
        end = min(stretch.ends_at, until) if until else stretch.ends_at
        held = facts.setdefault(stretch.segment.pk, {})
        if end > stretch.starts_at:
            held |= _read_stretch(reader, subscription, stretch, end, needing)
        for meter in stretch.meters - held.keys():
            empty = () if meter in needing else None
            held[meter] = MeterFact(meter, Decimal(0), events=empty)
    return facts


def _read_stretch(
    reader: UsageReader,
    subscription: Subscription,
    stretch: Stretch,
    end: datetime,
    needing: frozenset[str],
) -> dict[str, MeterFact]:
    rows = reader.meter_usage(
        subscription_id=subscription.pk,
        environment="live",
        start=stretch.starts_at,
        end=end,
    )
    facts = {}
    for row in rows:
        values = None
        if row.meter in needing:
            values = reader.event_values(
                subscription_id=subscription.pk,
                meter=row.meter,
                start=stretch.starts_at,
                end=end,
            )
        facts[row.meter] = MeterFact(
            row.meter, row.billed, row.counted, row.events, row.id_hash, values
        )
    return facts


def event_meters(stretches: Sequence[Stretch]) -> frozenset[str]:
    """Return the meters that some price of the period reads value by value."""
    return frozenset(
        price["meter"]
        for stretch in stretches
        for price in stretch.segment.plan_version.terms.get("prices", [])
        if price["model"] in EVENTS_ONLY
    )


def period_rate(
    *,
    subscription: Subscription,
    period: BillingPeriod,
    stretches: Sequence[Stretch],
    usage: Mapping[str, Mapping[str, MeterFact]],
) -> PeriodRating:
    """Rate the whole period from the usage given, without credits and tax.

    :raises RatingRefusedError: when the terms are not valid, with every error at once.
    """
    document = period_document(
        subscription=subscription, period=period, stretches=stretches, usage=usage
    )
    result = rate_document(document)
    meters = _meter_of_price(stretches)
    lines = tuple(_read_line(row, meters) for row in result["lines"])
    evidence = {line.line_key: _evidence(line, stretches, usage) for line in lines}
    return PeriodRating(document, lines, evidence)


def period_document(
    *,
    subscription: Subscription,
    period: BillingPeriod,
    stretches: Sequence[Stretch],
    usage: Mapping[str, Mapping[str, MeterFact]],
) -> dict[str, Any]:
    """Write a period as a rating document (`pricing.md` §2)."""
    trial = subscription.trial_ends_at
    return {
        "currency": stretches[-1].segment.plan_version.currency,
        "period": {"start": format_time(period.starts_at), "end": format_time(period.ends_at)},
        "trial_ends_at": format_time(trial) if trial else None,
        "segments": [
            {
                "from": format_time(s.starts_at),
                "to": format_time(s.ends_at),
                "terms": {
                    k: v
                    for k, v in s.segment.plan_version.terms.items()
                    if k not in {"credits", "tax"}
                },
                "usage": _usage_of(s, usage.get(s.segment.pk, {})),
                "carry_over": s.segment.carry_over,
            }
            for s in stretches
        ],
    }


def _usage_of(stretch: Stretch, facts: Mapping[str, MeterFact]) -> dict[str, Any]:
    return {
        meter: (
            {"quantity": format(fact.billed, "f")}
            if fact.events is None
            else {"events": [format(v, "f") for v in fact.events]}
        )
        for meter, fact in sorted(facts.items())
        if meter in stretch.meters
    }


def _meter_of_price(stretches: Sequence[Stretch]) -> dict[str, str]:
    return {
        price["key"]: price.get("meter") or ""
        for stretch in stretches
        for price in stretch.segment.plan_version.terms.get("prices", [])
    }


def _read_line(row: Mapping[str, Any], meters: Mapping[str, str]) -> RatedLine:
    price_key = row["price_key"] or ""
    return RatedLine(
        line_key=row["line_key"],
        price_key=price_key,
        description=row["description"] or row["line_key"],
        starts_at=parse_time(row["from"]),
        ends_at=parse_time(row["to"]),
        quantity=None if row["quantity"] is None else Decimal(row["quantity"]),
        unit_amount=None if row["unit_amount"] is None else Decimal(row["unit_amount"]),
        amount_minor=row["amount_minor"],
        discount_minor=row["discount_minor"],
        meter=meters.get(price_key, ""),
    )


def _evidence(
    line: RatedLine,
    stretches: Sequence[Stretch],
    usage: Mapping[str, Mapping[str, MeterFact]],
) -> tuple[str, ...]:
    if not line.meter:
        return ()
    return tuple(
        fact.snapshot_id
        for stretch in stretches
        if stretch.starts_at < line.ends_at and stretch.ends_at > line.starts_at
        if (fact := usage.get(stretch.segment.pk, {}).get(line.meter)) and fact.snapshot_id
    )


def settle(
    *,
    currency: str,
    lines: Sequence[Difference],
    credits: Sequence[Mapping[str, Any]],
    tax: Sequence[Mapping[str, Any]],
    at: datetime,
    until: datetime,
) -> Settlement:
    """Take credits off one document's lines and tax what is left, with the rating function.

    Each line is handed in as an amount of its own (`dynamic`), discounts already taken off;
    `applies_to` names price keys and is translated to those lines.
    """
    rows = sorted((d for d in lines if d.moves_money), key=lambda d: d.line.line_key)
    keys = {f"l{index:05d}": row for index, row in enumerate(rows)}
    document = {
        "currency": currency,
        "period": {"start": format_time(at), "end": format_time(until)},
        "terms": {
            "prices": [{"key": key, "meter": key, "model": "dynamic"} for key in keys],
            "credits": [_narrowed(c, keys) for c in credits],
            "tax": [_narrowed(t, keys) for t in tax],
        },
        "usage": {
            key: {"quantity": format(minor_to_major(row.net_minor, currency), "f")}
            for key, row in keys.items()
        },
    }
    plain = sum(d.amount_minor for d in rows if not d.line.is_adjustment)
    totals = Settlement(
        subtotal_minor=plain,
        discount_minor=sum(d.discount_minor for d in rows),
        adjustment_minor=sum(d.amount_minor for d in rows if d.line.is_adjustment),
        credit_minor=0,
        tax_minor=0,
        total_minor=sum(d.net_minor for d in rows),
        draws_minor=tuple(0 for _ in credits),
    )
    if not rows:
        return totals
    result = rate_document(document)
    return replace(
        totals,
        credit_minor=result["credit_minor"],
        tax_minor=result["tax_minor"],
        total_minor=result["total_minor"],
        draws_minor=tuple(
            credit["balance_minor"] - left
            for credit, left in zip(credits, result["credit_balances_minor"], strict=True)
        ),
    )


def _narrowed(entry: Mapping[str, Any], keys: Mapping[str, Difference]) -> dict[str, Any]:
    """Translate `applies_to` from price keys to this document's lines."""
    plain = {k: v for k, v in entry.items() if k not in {"applies_to", "balance_minor"}}
    wanted = entry.get("applies_to")
    if wanted is None:
        return plain
    return plain | {"applies_to": [k for k, row in keys.items() if row.line.price_key in wanted]}
