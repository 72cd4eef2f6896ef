"""What a quantity or a list of events costs under one price: one function per price model.

Every function returns the exact amount in major units as a Fraction; the caller rounds once per
line. Definitions: `docs/rating.md`, "Price models".
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Final

from portal.core.money import divide, round_half_up
from portal.core.plan_terms import Price, Tier, Transform

ZERO: Final = Fraction(0)
HUNDRED: Final = Fraction(100)


def _ceil(value: Fraction) -> int:
    return -((-value.numerator) // value.denominator)


def transformed(quantity: Fraction, transform: Transform | None) -> Fraction:
    """Multiply or divide, then round up, down or half up at the stated places."""
    if transform is None:
        return quantity
    factor = Fraction(transform.factor)
    value = quantity * factor if transform.op == "multiply" else divide(quantity, factor)
    if transform.rounding is None:
        return value
    scale = 10 ** (transform.precision or 0)
    scaled = value * scale
    if transform.rounding == "up":
        whole = _ceil(scaled)
    elif transform.rounding == "down":
        whole = scaled.numerator // scaled.denominator
    else:
        whole = round_half_up(scaled)
    return Fraction(whole, scale)


def chargeable(price: Price, quantity: Fraction) -> Fraction:
    """Return the units that are priced: transform first, then the included ones off.

    A negative quantity is a correction: it keeps its sign for `per_unit` and `dynamic`, without
    `included`, and counts as zero for every other model.
    """
    if quantity < 0:
        signed = price.model in {"per_unit", "dynamic"}
        return transformed(quantity, price.transform) if signed else ZERO
    units = transformed(quantity, price.transform)
    return max(ZERO, units - Fraction(price.included or 0))


def tier_units(units: Fraction, tier: Tier) -> Fraction:
    """Count a tier's units in its blocks (`per`): any fraction opens one."""
    return Fraction(_ceil(divide(units, tier.per))) if tier.per else units


def per_unit(price: Price, units: Fraction) -> Fraction:
    """Price every unit the same.

    >>> from decimal import Decimal
    >>> per_unit(Price("a", "per_unit", unit_amount=Decimal("0.0025")), Fraction(12345))
    Fraction(24690, 800)
    """
    return units * Fraction(price.unit_amount or 0)


def package(price: Price, units: Fraction) -> Fraction:
    """Open a package for any fraction of it."""
    size = Fraction(price.package_size or 1)
    return _ceil(divide(units, size)) * Fraction(price.package_amount or 0)


def portions(price: Price, units: Fraction) -> list[tuple[Tier, Fraction, bool]]:
    """Cut a quantity into (tier, units in it, reached); the last tier has no end.

    Tier n > 1 is reached above its lower bound; tier 1 always, unless the option says otherwise.
    """
    rows = []
    lower = ZERO
    for index, tier in enumerate(price.tiers):
        last = index == len(price.tiers) - 1
        upper = None if last or tier.up_to is None else Fraction(tier.up_to)
        inside = max(ZERO, (units if upper is None else min(units, upper)) - lower)
        reached = units > lower or (index == 0 and price.zero_usage_first_tier_flat)
        rows.append((tier, inside, reached))
        if upper is not None:
            lower = upper
    return rows


def graduated(price: Price, units: Fraction) -> Fraction:
    """Price each portion at its own tier, plus the flat amount of every tier reached."""
    return sum(
        (
            tier_units(inside, tier) * Fraction(tier.unit_amount or 0)
            + (Fraction(tier.flat_amount or 0) if reached else ZERO)
            for tier, inside, reached in portions(price, units)
        ),
        ZERO,
    )


def reached_tier(price: Price, units: Fraction) -> Tier:
    """Return the tier that the total falls in; `up_to` is inclusive."""
    for tier in price.tiers[:-1]:
        if tier.up_to is not None and units <= Fraction(tier.up_to):
            return tier
    return price.tiers[-1]


def _reached_flat(price: Price, units: Fraction, tier: Tier) -> Fraction:
    free = units == 0 and not price.zero_usage_first_tier_flat
    return ZERO if free else Fraction(tier.flat_amount or 0)


def volume(price: Price, units: Fraction) -> Fraction:
    """Price the whole quantity at the tier its total falls in, plus only that tier's flat."""
    tier = reached_tier(price, units)
    amount = tier_units(units, tier) * Fraction(tier.unit_amount or 0)
    return amount + _reached_flat(price, units, tier)


def stairstep(price: Price, units: Fraction) -> Fraction:
    """Charge the one flat price of the step reached."""
    return _reached_flat(price, units, reached_tier(price, units))


def graduated_percentage(price: Price, units: Fraction) -> Fraction:
    """Take each portion of the value at its tier's rate, plus the flat of every tier reached."""
    return sum(
        (
            divide(inside * Fraction(tier.rate or 0), HUNDRED)
            + (Fraction(tier.flat_amount or 0) if reached else ZERO)
            for tier, inside, reached in portions(price, units)
        ),
        ZERO,
    )


def dynamic(price: Price, units: Fraction) -> Fraction:
    """Sum the prices that the events carried, times the multiplier."""
    return units * Fraction(price.multiplier)


QUANTITY_MODELS: Final[dict[str, Callable[[Price, Fraction], Fraction]]] = {
    "per_unit": per_unit,
    "graduated": graduated,
    "volume": volume,
    "package": package,
    "stairstep": stairstep,
    "graduated_percentage": graduated_percentage,
    "dynamic": dynamic,
}


def rate_quantity(price: Price, quantity: Fraction) -> Fraction:
    """Return what a raw quantity costs, exact, in major units."""
    return QUANTITY_MODELS[price.model](price, chargeable(price, quantity))


def _event_price(price: Price, value: Fraction) -> Fraction:
    amount = divide(value * Fraction(price.rate or 0), HUNDRED)
    amount += Fraction(price.fixed_per_event or 0)
    if price.min_per_event is not None:
        amount = max(amount, Fraction(price.min_per_event))
    if price.max_per_event is not None:
        amount = min(amount, Fraction(price.max_per_event))
    return amount


def rate_events(price: Price, events: Sequence[Fraction]) -> Fraction:
    """Return what events cost under `percentage`, in their order, exact.

    Events are free while both the free count and the free amount last; the event that reaches
    the free amount pays on its excess; either one used up ends both. A negative event takes its
    rate back and uses up nothing.
    """
    total, count, value_used = ZERO, 0, ZERO
    free = price.free_events is not None or price.free_amount is not None
    for value in events:
        if value < 0:
            total += divide(value * Fraction(price.rate or 0), HUNDRED)
            continue
        if free and price.free_events is not None and count >= price.free_events:
            free = False
        if not free:
            total += _event_price(price, value)
        elif price.free_amount is not None and value_used + value >= price.free_amount:
            free = False
            total += _event_price(price, value_used + value - Fraction(price.free_amount))
        else:
            count, value_used = count + 1, value_used + value
    return total
