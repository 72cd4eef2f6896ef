"""`package`: whole packages; any fraction opens one."""

from fractions import Fraction

from billing.rating.parts import Part, ceiling, exact
from portal.core.money import divide
from portal.core.plan_terms import Price


def package(price: Price, units: Fraction) -> list[Part]:
    """Count the packages that the units open.

    >>> from decimal import Decimal
    >>> box = Price("calls", "package", package_size=Decimal(1000), package_amount=Decimal(4))
    >>> [package(box, Fraction(n))[0].amount for n in (0, 1, 2000)]
    [Fraction(0, 1), Fraction(4, 1), Fraction(8, 1)]
    """
    opened = Fraction(ceiling(divide(units, exact(price.package_size))))
    return [Part("packages", opened, price.package_amount, opened * exact(price.package_amount))]
