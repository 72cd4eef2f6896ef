"""Running figures of an open period: spend so far and the projected bill, from live usage.

Both go through the same rating and settling as an invoice; only the usage differs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from billing.services.chain import RatedLine, differences
from billing.services.drafts import tax_terms
from billing.services.rated import (
    MeterFact,
    PeriodRating,
    Settlement,
    period_rate,
    settle,
    stretch_list,
    usage_read,
)
from billing.services.wallet import credit_terms, grant_list
from metering.queries import UsageReader
from portal.models import BillingPeriod, Subscription

MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class RunningBill:
    """The period as it stands and as it is heading; amounts include tax, credit taken off."""

    period: BillingPeriod
    currency: str
    lines: tuple[RatedLine, ...]
    so_far: Settlement
    projected: Settlement
    usage: Mapping[str, MeterFact]  # per meter over the whole period, for gauges
    as_of: datetime


def period_at(*, subscription: Subscription, now: datetime) -> BillingPeriod | None:
    """Return the stored period that holds `now`."""
    return subscription.periods.filter(starts_at__lte=now, ends_at__gt=now).first()


def running_bill(
    *,
    subscription: Subscription,
    reader: UsageReader,
    now: datetime,
    period: BillingPeriod | None = None,
) -> RunningBill | None:
    """Rate the open period up to now and, at the same pace, to its end.

    period   the one that holds `now`, where the caller has read it already
    """
    period = period or period_at(subscription=subscription, now=now)
    if period is None:
        return None
    stretches = stretch_list(subscription=subscription, period=period, now=now)
    if not stretches:
        return None
    facts = usage_read(reader=reader, subscription=subscription, stretches=stretches, until=now)
    rating = period_rate(
        subscription=subscription, period=period, stretches=stretches, usage=facts
    )
    last = stretches[-1]
    ahead = facts | {
        last.segment.pk: {
            meter: projected_fact(fact, start=last.starts_at, now=now, end=last.ends_at)
            for meter, fact in facts[last.segment.pk].items()
        }
    }
    projection = period_rate(
        subscription=subscription, period=period, stretches=stretches, usage=ahead
    )
    currency = last.segment.plan_version.currency
    tax = tax_terms(subscription.organization, stretches)
    credits = credit_terms(grant_list(subscription=subscription, currency=currency))

    def settled(of: PeriodRating) -> Settlement:
        return settle(
            currency=currency,
            lines=differences(of.lines, {}),
            credits=credits,
            tax=tax,
            at=period.starts_at,
            until=period.ends_at,
        )

    return RunningBill(
        period=period,
        currency=currency,
        lines=rating.lines,
        so_far=settled(rating),
        projected=settled(projection),
        usage=whole_period(facts),
        as_of=now,
    )


def projected_fact(fact: MeterFact, *, start: datetime, now: datetime, end: datetime) -> MeterFact:
    """Carry a meter on at its pace to `end`; whole units, half up. Value lists are kept as is.

    >>> from datetime import UTC
    >>> day = [datetime(2026, 1, d, tzinfo=UTC) for d in (1, 11, 31)]
    >>> projected_fact(MeterFact("m", Decimal(100)), start=day[0], now=day[1], end=day[2]).billed
    Decimal('300')
    """
    gone, whole = (now - start) // MICROSECOND, (end - start) // MICROSECOND
    if gone <= 0 or fact.events is not None or fact.billed <= 0:
        return fact
    units = (2 * int(fact.billed) * whole + gone) // (2 * gone)
    return replace(fact, billed=max(Decimal(units), fact.billed))


def whole_period(facts: Mapping[str, Mapping[str, MeterFact]]) -> dict[str, MeterFact]:
    """Sum what the stretches of a period used, per meter."""
    total: dict[str, MeterFact] = {}
    for held in facts.values():
        for meter, fact in held.items():
            was = total.get(meter, MeterFact(meter, Decimal(0)))
            total[meter] = replace(
                was,
                billed=was.billed + fact.billed,
                counted=was.counted + fact.counted,
                event_count=was.event_count + fact.event_count,
            )
    return total
