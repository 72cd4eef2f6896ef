"""`graduated_percentage`: tiers over a value; a rate per portion plus every reached flat."""

from fractions import Fraction

from billing.rating.parts import Part, percent_of
from billing.rating.tiers import flat_part, portions
from portal.core.plan_terms import Price


def graduated_percentage(price: Price, units: Fraction) -> list[Part]:
    """Take each portion of the value at its own tier's rate.

    >>> from decimal import Decimal
    >>> from portal.core.plan_terms import Tier
    >>> share = (Tier(Decimal(1000), rate=Decimal(5)), Tier(None, rate=Decimal(3)))
    >>> price = Price("share", "graduated_percentage", tiers=share)
    >>> [str(part.amount) for part in graduated_percentage(price, Fraction(1500))]
    ['50', '15']
    """
    parts = []
    for portion in portions(price, units):
        rate = portion.tier.rate
        amount = percent_of(portion.units, rate)
        parts.append(Part("value", portion.units, rate, amount, portion.above, portion.up_to))
        flat = flat_part(price, portion, units, "tier_flat")
        if flat is not None:
            parts.append(flat)
    return parts
