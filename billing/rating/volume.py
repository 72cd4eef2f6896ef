"""`volume`: the whole quantity at the tier its total falls in, plus only that tier's flat."""

from fractions import Fraction

from billing.rating.parts import Part
from billing.rating.tiers import flat_part, tier_of, units_part
from portal.core.plan_terms import Price


def volume(price: Price, units: Fraction) -> list[Part]:
    """Price all units alike; the amount may fall where a tier is crossed, and that is right.

    >>> from decimal import Decimal
    >>> from portal.core.plan_terms import Tier
    >>> bulk = (Tier(Decimal(100), Decimal("0.10")), Tier(None, Decimal("0.08")))
    >>> str(volume(Price("calls", "volume", tiers=bulk), Fraction(101))[0].amount)
    '202/25'
    """
    portion = tier_of(price, units)
    flat = flat_part(price, portion, units, "tier_flat")
    return [units_part(portion)] if flat is None else [units_part(portion), flat]
