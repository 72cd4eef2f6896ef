"""`flat`: a fee per period, in advance or in arrears, prorated unless the price says otherwise."""

from collections.abc import Callable
from datetime import datetime
from fractions import Fraction
from typing import NamedTuple

from billing.rating.parts import exact
from portal.core.plan_terms import Price

Share = Callable[[datetime, datetime], Fraction]
"""The part of the period that `[start, end)` is, under the price's proration."""


class FlatCharge(NamedTuple):
    """What a stretch of a flat price costs, exact, and what it gives back, if anything."""

    start: datetime
    end: datetime
    amount: Fraction
    unused: Fraction | None  # to be credited from the stretch's end to the period's


def flat_charge(
    price: Price,
    *,
    stretch: tuple[datetime, datetime],
    period_end: datetime,
    trial_ends_at: datetime | None,
    share: Share,
) -> FlatCharge:
    """Charge a flat price for the stretch `[start, end)` in which it held.

    In advance: from its start to the period's end, and what it did not last for is credited. In
    arrears: for its own stretch alone. `proration: none` charges the whole amount and credits
    nothing; in arrears only if it holds to the period's end. A trial puts the start off.
    """
    start, end = stretch
    charged_from = max(start, trial_ends_at) if trial_ends_at else start
    amount = exact(price.amount)
    if charged_from >= end:
        return FlatCharge(start, end, Fraction(0), None)
    if price.timing == "in_arrears":
        lost = price.proration == "none" and end < period_end
        due = Fraction(0) if lost else amount * share(charged_from, end)
        return FlatCharge(charged_from, end, due, None)
    unused = end < period_end and price.proration != "none"
    return FlatCharge(
        charged_from,
        period_end,
        amount * share(charged_from, period_end),
        amount * share(end, period_end) if unused else None,
    )
