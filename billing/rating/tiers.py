"""Tiers as every tiered model reads them: bounds, which are reached, blocks.

`up_to` is inclusive and may be fractional; the last tier has no end, whether it says null or not.
Tier n > 1 is reached when the quantity is above its lower bound, by however little.
"""

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from billing.rating.parts import Part, ceiling, exact
from portal.core.money import divide
from portal.core.plan_terms import Price, Tier


class Portion(NamedTuple):
    """The part of a quantity that lies in one tier, `(above, up_to]`."""

    tier: Tier
    above: Decimal
    up_to: Decimal | None
    units: Fraction


def portions(price: Price, units: Fraction) -> Iterator[Portion]:
    """Yield the tiers that a quantity reaches, each with its own portion; tier 1 always."""
    above = Decimal(0)
    for index, tier in enumerate(price.tiers):
        up_to = tier.up_to if index < len(price.tiers) - 1 else None
        top = units if up_to is None else min(units, Fraction(up_to))
        yield Portion(tier, above, up_to, top - Fraction(above))
        if up_to is None or units <= up_to:
            return
        above = up_to


def tier_of(price: Price, units: Fraction) -> Portion:
    """Return the tier that the whole quantity falls in, with all units in it."""
    *_, last = portions(price, units)
    return last._replace(units=units)


def flat_part(price: Price, portion: Portion, units: Fraction, kind: str) -> Part | None:
    """Return the flat amount of a reached tier; tier 1's at zero usage is an option."""
    flat = portion.tier.flat_amount
    if flat is None or (units <= 0 and not price.zero_usage_first_tier_flat):
        return None
    return Part(kind, Fraction(1), flat, Fraction(flat), portion.above, portion.up_to)


def units_part(portion: Portion) -> Part:
    """Price the units of a tier, in its blocks where it has `per`: any fraction opens one."""
    tier, units = portion.tier, portion.units
    kind = "units"
    if tier.per is not None:
        kind, units = "blocks", Fraction(ceiling(divide(units, tier.per)))
    amount = units * exact(tier.unit_amount)
    return Part(kind, units, tier.unit_amount, amount, portion.above, portion.up_to)
