"""What happens to priced lines: discounts, maximum and minimum, commitment, credits, tax.

The order is `docs/rating.md`, "Order on an invoice". Each discount and credit is rounded once on
what is left of the lines it applies to, then split over them by largest remainder.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from fractions import Fraction

from billing.rating.document import Request
from billing.rating.lines import Line
from billing.rating.proration import fraction
from portal.core.money import divide, round_half_up, split, to_minor
from portal.core.plan_terms import COMMITMENT_KEY, Commitment, Discount, Price


def _applies(line: Line, applies_to: tuple[str, ...] | None) -> bool:
    return applies_to is None or line.price_key in applies_to


@dataclass(frozen=True, slots=True)
class DiscountRun:
    """A discount that is equal in adjoining segments `[first, last]`: one over all of them."""

    discount: Discount
    first: int
    last: int


def discount_runs(request: Request) -> list[DiscountRun]:
    """Merge equal discounts of adjoining segments, in their stated order."""
    runs: list[DiscountRun] = []
    open_runs: list[int] = []
    for index, segment in enumerate(request.segments):
        adjoins = index > 0 and request.segments[index - 1].end == segment.start
        waiting = list(open_runs) if adjoins else []
        open_runs = []
        for discount in segment.terms.discounts:
            held = next((i for i in waiting if runs[i].discount == discount), None)
            if held is None:
                runs.append(DiscountRun(discount, index, index))
                open_runs.append(len(runs) - 1)
            else:
                waiting.remove(held)
                runs[held] = replace(runs[held], last=index)
                open_runs.append(held)
    return runs


def _spread(
    lines: list[Line], chosen: list[int], amount: int, left: Callable[[Line], int], name: str
) -> None:
    """Take an amount off the chosen lines, split by what is left of each."""
    weights = {lines[i].line_key: left(lines[i]) for i in chosen}
    shares = split(amount, weights)
    for i in chosen:
        line = lines[i]
        taken = getattr(line, name) + shares[line.line_key]
        lines[i] = replace(line, **{name: taken})


def apply_discounts(request: Request, lines: list[Line]) -> None:
    """Take each discount off what is left of its lines; a fixed one is capped at that."""
    for run in discount_runs(request):
        chosen = [
            i
            for i, line in enumerate(lines)
            if run.first <= line.segment <= run.last and _applies(line, run.discount.applies_to)
        ]
        base = sum(lines[i].after_discount for i in chosen)
        if base <= 0:
            continue
        if run.discount.type == "percent":
            amount = round_half_up(divide(base * Fraction(run.discount.value), 100))
        else:
            amount = min(base, to_minor(run.discount.value, request.currency))
        _spread(lines, chosen, amount, lambda line: line.after_discount, "discount_minor")


def _adjustment(
    request: Request, key: str, price_key: str | None, words: str, amount_minor: int
) -> Line:
    return Line(
        line_key=key,
        price_key=price_key,
        description=words,
        start=request.start,
        end=request.end,
        quantity=None,
        unit_amount=None,
        amount_minor=amount_minor,
        segment=len(request.segments) - 1,
        adjustment=True,
    )


def _bound_line(request: Request, price: Price, name: str, amount: int) -> Line:
    words = f"{price.description or price.key}: {name}"
    return _adjustment(request, f"{price.key}:{name}", price.key, words, amount)


def price_bounds(request: Request, lines: Sequence[Line], *, minimums: bool) -> Iterator[Line]:
    """Yield the maximum (negative) and the minimum (true-up) line of each price that has one."""
    for price in request.segments[-1].terms.prices:
        net = sum(line.after_discount for line in lines if line.price_key == price.key)
        if price.maximum is not None:
            excess = net - to_minor(price.maximum, request.currency)
            if excess > 0:
                net -= excess
                yield _bound_line(request, price, "maximum", -excess)
        if price.minimum is not None and minimums:
            missing = to_minor(price.minimum, request.currency) - net
            if missing > 0:
                yield _bound_line(request, price, "minimum", missing)


def committed_minor(request: Request) -> int | None:
    """Sum each segment's commitment over its own stretch, rounded once; None without any.

    A trial puts the start off, and a stretch that is over by then commits to nothing. One that is
    not prorated and goes on unchanged in the adjoining segment counts once.
    """
    total: Fraction | None = None
    previous: tuple[Commitment, datetime] | None = None
    for segment in request.segments:
        commitment, trial = segment.terms.minimum_commitment, request.trial_ends_at
        start = max(segment.start, trial) if trial else segment.start
        if commitment is None or start >= segment.end:
            previous = None
            continue
        goes_on = previous == (commitment, segment.start)
        previous = (commitment, segment.end)
        if goes_on and commitment.proration == "none":
            continue
        total = (total or Fraction(0)) + Fraction(commitment.amount) * fraction(
            start,
            segment.end,
            period=(request.start, request.end),
            proration=commitment.proration,
            time_zone=request.time_zone,
        )
    return None if total is None else to_minor(total, request.currency)


def commitment_line(request: Request, lines: Sequence[Line]) -> Line | None:
    """Return the true-up to the commitment over everything that is left, or None."""
    committed = committed_minor(request)
    if committed is None:
        return None
    missing = committed - sum(line.after_discount for line in lines)
    if missing <= 0:
        return None
    words = "Minimum commitment: true-up"
    return _adjustment(request, COMMITMENT_KEY, None, words, missing)


def apply_credits(request: Request, lines: list[Line]) -> list[int]:
    """Draw prepaid credits; return each one's balance in minor units, in file order."""
    held = request.segments[-1].terms.credits
    balances = [to_minor(credit.amount, request.currency) for credit in held]
    order = sorted(
        range(len(held)),
        key=lambda i: (
            held[i].priority,
            held[i].expires_at is None,
            held[i].expires_at or request.end,
            i,
        ),
    )
    for index in order:
        credit = held[index]
        if credit.expires_at is not None and credit.expires_at < request.end:
            continue
        chosen = [i for i, line in enumerate(lines) if _applies(line, credit.applies_to)]
        base = sum(lines[i].left for i in chosen)
        amount = min(base, balances[index])
        if amount <= 0:
            continue
        _spread(lines, chosen, amount, lambda line: line.left, "credit_minor")
        balances[index] -= amount
    return balances


def tax_minor(request: Request, lines: Sequence[Line]) -> int:
    """Tax what remains of each entry's lines, each entry rounded once."""
    return sum(
        round_half_up(
            divide(
                sum(line.left for line in lines if _applies(line, tax.applies_to))
                * Fraction(tax.rate),
                100,
            )
        )
        for tax in request.segments[-1].terms.tax
    )
