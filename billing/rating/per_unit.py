"""`per_unit`: quantity times unit amount."""

from fractions import Fraction

from billing.rating.parts import Part, exact
from portal.core.plan_terms import Price


def per_unit(price: Price, units: Fraction) -> list[Part]:
    """Price every unit the same; a negative quantity keeps its sign.

    >>> from decimal import Decimal
    >>> price = Price("calls", "per_unit", unit_amount=Decimal("0.0025"))
    >>> per_unit(price, Fraction(12345))[0].amount == Fraction("30.8625")
    True
    """
    return [Part("units", units, price.unit_amount, units * exact(price.unit_amount))]
