"""`stairstep`: one flat price for the step the quantity falls in; steps do not add up."""

from fractions import Fraction

from billing.rating.parts import Part
from billing.rating.tiers import flat_part, tier_of
from portal.core.plan_terms import Price


def stairstep(price: Price, units: Fraction) -> list[Part]:
    """Charge the step reached.

    >>> from decimal import Decimal
    >>> from portal.core.plan_terms import Tier
    >>> steps = (Tier(Decimal(10), flat_amount=Decimal(20)), Tier(None, flat_amount=Decimal(75)))
    >>> [stairstep(Price("s", "stairstep", tiers=steps), Fraction(n))[0].rate for n in (10, 11)]
    [Decimal('20'), Decimal('75')]
    """
    step = flat_part(price, tier_of(price, units), units, "step")
    return [] if step is None else [step]
