"""`percentage`: a rate on the value of each event, plus a fixed fee, within bounds per event."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import NamedTuple

from billing.rating.parts import NOTHING, Part, exact, percent_of
from portal.core.plan_terms import Price


class _Paid(NamedTuple):
    """An event that is not free: the value that its rate is taken of."""

    value: Fraction
    correction: bool  # negative: takes its rate back and nothing else


def percentage(price: Price, events: Iterable[Fraction]) -> list[Part]:
    """Price events in their order.

    Events are free while both the free count and the free amount last; either one used up ends
    both. The event that reaches the free amount, exactly or beyond, pays the rate on its excess
    and the fixed fee. Bounds clamp the whole price of a paid event.

    >>> from decimal import Decimal
    >>> card = Price("p", "percentage", rate=Decimal("2.9"), fixed_per_event=Decimal("0.30"))
    >>> [str(part.amount) for part in percentage(card, [Fraction(10), Fraction(250)])]
    ['377/50', '3/5']
    """
    rated, clamped, charged = NOTHING, NOTHING, 0
    for paid in _paid_events(price, events):
        rated += paid.value
        if not paid.correction:
            charged += 1
            clamped += _clamp_difference(price, paid.value)
    parts = [Part("value", rated, price.rate, percent_of(rated, price.rate))]
    fixed = price.fixed_per_event
    if fixed is not None:
        parts.append(Part("per_event", Fraction(charged), fixed, charged * Fraction(fixed)))
    if clamped:
        parts.append(Part("bounds", Fraction(charged), None, clamped))
    return parts


def _paid_events(price: Price, events: Iterable[Fraction]) -> Iterator[_Paid]:
    """Yield what is paid of each event, in order; free events are left out."""
    free_count, free_value = price.free_events, price.free_amount
    free = free_count is not None or free_value is not None
    count, value_used = 0, NOTHING
    for value in events:
        free = free and (free_count is None or count < free_count)
        free = free and (free_value is None or value_used < free_value)
        if value < 0:
            yield _Paid(value, correction=True)
        elif not free:
            yield _Paid(value, correction=False)
        else:
            count, value_used = count + 1, value_used + value
            if free_value is not None and value_used >= free_value:
                yield _Paid(value_used - Fraction(free_value), correction=False)


def _clamp_difference(price: Price, value: Fraction) -> Fraction:
    """Return what the bounds add to the price of one paid event."""
    if price.min_per_event is None and price.max_per_event is None:
        return NOTHING
    plain = percent_of(value, price.rate) + exact(price.fixed_per_event)
    bounded = plain
    if price.min_per_event is not None:
        bounded = max(bounded, Fraction(price.min_per_event))
    if price.max_per_event is not None:
        bounded = min(bounded, Fraction(price.max_per_event))
    return bounded - plain
