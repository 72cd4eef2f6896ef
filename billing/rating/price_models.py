"""Finds the function of a price model and gives it what it reads: a quantity or events."""

from collections.abc import Callable
from fractions import Fraction
from typing import Final

from billing.rating.document import Usage
from billing.rating.dynamic import dynamic
from billing.rating.graduated import graduated
from billing.rating.graduated_percentage import graduated_percentage
from billing.rating.package import package
from billing.rating.parts import Part, amount_of, exact
from billing.rating.per_unit import per_unit
from billing.rating.percentage import percentage
from billing.rating.quantity import priced_units, transformed
from billing.rating.stairstep import stairstep
from billing.rating.volume import volume
from portal.core import plan_terms
from portal.core.plan_terms import Price

QUANTITY_MODELS: Final[dict[str, Callable[[Price, Fraction], list[Part]]]] = {
    plan_terms.PER_UNIT: per_unit,
    plan_terms.GRADUATED: graduated,
    plan_terms.VOLUME: volume,
    plan_terms.PACKAGE: package,
    plan_terms.STAIRSTEP: stairstep,
    plan_terms.GRADUATED_PERCENTAGE: graduated_percentage,
    plan_terms.DYNAMIC: dynamic,
}


def usage_parts(price: Price, usage: Usage) -> list[Part]:
    """Price a usage under any model but `flat`: exact parts in major units."""
    if price.model == plan_terms.PERCENTAGE:
        return percentage(price, usage.events or ())
    return QUANTITY_MODELS[price.model](price, priced_units(price, usage.total))


def usage_amount(price: Price, usage: Usage) -> Fraction:
    """Return what a usage costs, exact, in major units; the caller rounds it, once."""
    return amount_of(usage_parts(price, usage))


def explain(price: Price, usage: Usage) -> list[Part]:
    """Explain a usage price tier by tier; the parts add up to the line before it is rounded.

    Begins with the units that are free of charge, where the price includes any.

    >>> from decimal import Decimal
    >>> price = Price("c", "per_unit", unit_amount=Decimal("0.5"), included=Decimal(10))
    >>> [(p.kind, str(p.quantity), str(p.amount)) for p in explain(price, Usage(Fraction(12)))]
    [('free', '10', '0'), ('units', '2', '1')]
    """
    parts = usage_parts(price, usage)
    free = min(exact(price.included), max(Fraction(0), transformed(usage.total, price.transform)))
    return [Part("free", free, None, Fraction(0)), *parts] if free else parts
