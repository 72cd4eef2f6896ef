"""`dynamic`: every event carries its own price; their exact sum, times a multiplier."""

from fractions import Fraction

from billing.rating.parts import Part
from portal.core.plan_terms import Price


def dynamic(price: Price, units: Fraction) -> list[Part]:
    """Charge the sum of the prices carried; a negative one keeps its sign.

    >>> from decimal import Decimal
    >>> str(dynamic(Price("d", "dynamic", multiplier=Decimal("1.2")), Fraction(5))[0].amount)
    '6'
    """
    return [Part("units", units, price.multiplier, units * Fraction(price.multiplier))]
