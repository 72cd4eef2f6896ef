"""From the raw quantity to the units that are priced: transform first, then `included` off."""

from fractions import Fraction
from typing import Final

from billing.rating.parts import NOTHING, ceiling, exact
from portal.core.money import divide, round_half_up
from portal.core.plan_terms import DYNAMIC, PER_UNIT, Price, Transform

SIGNED_MODELS: Final = frozenset({PER_UNIT, DYNAMIC})
"""Models that price a negative quantity, a correction, with its sign."""


def transformed(quantity: Fraction, transform: Transform | None) -> Fraction:
    """Multiply or divide, then round at the stated places; without `round` it stays exact.

    Rounding goes by size, up = away from zero, so that a correction takes back exactly what the
    same quantity had added.

    >>> from decimal import Decimal
    >>> thousands = Transform("divide", Decimal(1000), "up")
    >>> transformed(Fraction(1001), thousands), transformed(Fraction(-1001), thousands)
    (Fraction(2, 1), Fraction(-2, 1))
    """
    if transform is None:
        return quantity
    factor = Fraction(transform.factor)
    value = quantity * factor if transform.op == "multiply" else divide(quantity, factor)
    if transform.rounding is None:
        return value
    scale = Fraction(10) ** (transform.precision or 0)
    size = abs(value) * scale
    if transform.rounding == "up":
        whole = ceiling(size)
    elif transform.rounding == "down":
        whole = size.numerator // size.denominator
    else:
        whole = round_half_up(size)
    return divide(whole if value > 0 else -whole, scale)


def priced_units(price: Price, quantity: Fraction) -> Fraction:
    """Return the units that are priced.

    A negative quantity keeps its sign for `per_unit` and `dynamic`, and then knows no `included`;
    every other model takes it as zero.
    """
    if quantity < 0:
        signed = price.model in SIGNED_MODELS
        return transformed(quantity, price.transform) if signed else NOTHING
    return max(NOTHING, transformed(quantity, price.transform) - exact(price.included))
