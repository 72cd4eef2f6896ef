"""`graduated`: each portion of the quantity at its own tier, plus every reached tier's flat."""

from fractions import Fraction

from billing.rating.parts import Part
from billing.rating.tiers import flat_part, portions, units_part
from portal.core.plan_terms import Price


def graduated(price: Price, units: Fraction) -> list[Part]:
    """Price each unit at the tier it falls in.

    >>> from decimal import Decimal
    >>> from portal.core.plan_terms import Tier
    >>> web = (Tier(Decimal(1000), Decimal("0.002")), Tier(None, Decimal("0.0015")))
    >>> parts = graduated(Price("calls", "graduated", tiers=web), Fraction(1001))
    >>> [str(part.amount) for part in parts]
    ['2', '3/2000']
    """
    parts = []
    for portion in portions(price, units):
        parts.append(units_part(portion))
        flat = flat_part(price, portion, units, "tier_flat")
        if flat is not None:
            parts.append(flat)
    return parts
