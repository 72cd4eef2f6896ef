"""The parts that a price is made of: exact, unrounded, and adding up to the price.

Every price model returns its parts; their sum is what it costs, so that an explanation can never
disagree with an amount. The caller rounds the sum once per line.
"""

from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction
from typing import Final, NamedTuple

from portal.core.money import divide

NOTHING: Final = Fraction(0)


class Part(NamedTuple):
    """One addend of a price, in major units.

    kind       units, blocks, tier_flat, step, packages, value, per_event, bounds, free
    quantity   how many of them are counted here
    rate       price of one; percent where the kind is `value`; None where it does not apply
    amount     what this part adds, exactly
    above      the tier's lower bound, exclusive; None outside tiers
    up_to      the tier's upper bound, inclusive; None = no end
    """

    kind: str
    quantity: Fraction
    rate: Decimal | None
    amount: Fraction
    above: Decimal | None = None
    up_to: Decimal | None = None


def exact(number: Decimal | None) -> Fraction:
    """Read an optional decimal as a fraction; absent is zero."""
    return NOTHING if number is None else Fraction(number)


def ceiling(value: Fraction) -> int:
    """Return the least whole number that is not below the value."""
    return -(-value.numerator // value.denominator)


def percent_of(value: Fraction, rate: Decimal | None) -> Fraction:
    """Take a percentage, exactly.

    >>> percent_of(Fraction(250), Decimal("2.9"))
    Fraction(29, 4)
    """
    return divide(value * exact(rate), 100)


def amount_of(parts: Iterable[Part]) -> Fraction:
    """Add parts up."""
    return sum((part.amount for part in parts), NOTHING)
