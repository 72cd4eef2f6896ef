"""The priced lines of a document: each price over each of its stretches, rounded once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from billing.rating.document import Request, Stretch, Usage
from billing.rating.flat import flat_charge
from billing.rating.price_models import usage_amount
from billing.rating.proration import fraction
from portal.core.money import to_minor
from portal.core.plan_terms import FLAT, PACKAGE, PER_UNIT, STAIRSTEP, Price, time_text


@dataclass(frozen=True, slots=True)
class Line:
    """One line. `segment` is the index of the segment in which its stretch begins.

    quantity     raw; None on adjustment lines
    unit_amount  None where tiers or events make it several
    """

    line_key: str
    price_key: str | None
    description: str
    start: datetime
    end: datetime
    quantity: Fraction | None
    unit_amount: Decimal | None
    amount_minor: int
    segment: int
    discount_minor: int = 0
    credit_minor: int = 0
    adjustment: bool = False

    @property
    def after_discount(self) -> int:
        return self.amount_minor - self.discount_minor

    @property
    def left(self) -> int:
        return self.after_discount - self.credit_minor


@dataclass(frozen=True, slots=True)
class Run:
    """A price that never stopped over adjoining segments `[first, last]`."""

    price: Price
    first: int
    last: int
    number: int  # 0 for the first run of its key


def without_free_usage(request: Request) -> Request:
    """Remove the usage of segments that end within a trial whose usage is free."""
    trial = request.trial_ends_at
    if not request.trial_usage_free or trial is None:
        return request
    kept = tuple(replace(s, usage={}) if s.end <= trial else s for s in request.segments)
    return replace(request, segments=kept)


def _goes_on(price: Price, before: Stretch, after: Stretch) -> bool:
    if before.end != after.start or (price.model != FLAT and not after.carry_over):
        return False
    return price in before.terms.prices  # by value: see `plan_terms.Price`


def price_runs(segments: Sequence[Stretch]) -> list[Run]:
    """Merge equal prices of adjoining segments; in order of their start, then of the plan."""
    runs: list[Run] = []
    open_runs: dict[str, int] = {}
    for index, segment in enumerate(segments):
        still: dict[str, int] = {}
        for price in segment.terms.prices:
            held = open_runs.get(price.key)
            if held is not None and _goes_on(price, segments[index - 1], segment):
                runs[held] = replace(runs[held], last=index, price=price)
                still[price.key] = held
                continue
            number = sum(run.price.key == price.key for run in runs)
            runs.append(Run(price, index, index, number))
            still[price.key] = len(runs) - 1
        open_runs = still
    return runs


def line_key(run: Run, start: datetime, suffix: str = "") -> str:
    """Name a line: `<key>`, later stretches `<key>@<from>`; a suffix stands behind the key."""
    key = f"{run.price.key}{suffix}"
    return key if run.number == 0 else f"{key}@{time_text(start)}"


def flat_lines(request: Request, run: Run) -> Iterator[Line]:
    """Charge a flat price over its stretch, and credit what was not used, each rounded."""
    price = run.price
    begins, ends = request.segments[run.first].start, request.segments[run.last].end

    def share(since: datetime, until: datetime) -> Fraction:
        period = (request.start, request.end)
        return fraction(
            since, until, period=period, proration=price.proration, time_zone=request.time_zone
        )

    charge = flat_charge(
        price,
        stretch=(begins, ends),
        period_end=request.end,
        trial_ends_at=request.trial_ends_at,
        share=share,
    )
    words = price.description or price.key
    line = Line(
        line_key=line_key(run, begins),
        price_key=price.key,
        description=words,
        start=charge.start,
        end=charge.end,
        quantity=Fraction(1),
        unit_amount=price.amount,
        amount_minor=to_minor(charge.amount, request.currency),
        segment=run.first,
    )
    yield line
    if charge.unused is not None:
        yield replace(
            line,
            line_key=line_key(run, begins, ":unused"),
            description=f"{words}: unused time",
            start=ends,
            end=request.end,
            amount_minor=-to_minor(charge.unused, request.currency),
        )


def joined(segments: Sequence[Stretch], meter: str) -> Usage:
    """Append what a meter measured in several segments."""
    held = [segment.usage[meter] for segment in segments if meter in segment.usage]
    if any(usage.events is not None for usage in held):
        return Usage(events=tuple(value for usage in held for value in usage.events or ()))
    return Usage(sum((usage.quantity for usage in held), Fraction(0)))


@dataclass(frozen=True, slots=True)
class Billed:
    """What the usage lines of a key came to so far, in the chain that begins at a segment."""

    chain: int
    amount_minor: int


def usage_line(request: Request, run: Run, billed: dict[str, Billed]) -> Line:
    """Rate a stretch's own usage on top of what its chain used before.

    The chain begins at the last segment that does not carry over. Nothing is subtracted for a
    key's first stretch of a chain in which nothing was used before.

    billed   per key, what its chain was billed so far; updated here
    """
    price, segments = run.price, request.segments
    chain = max((i for i in range(run.first + 1) if not segments[i].carry_over), default=0)
    earlier = billed.get(price.key)
    if earlier is not None and earlier.chain != chain:
        earlier = None
    so_far = earlier.amount_minor if earlier else 0

    def rated(first: int, end: int) -> int:
        usage = joined(segments[first:end], price.meter)
        return to_minor(usage_amount(price, usage), request.currency)

    amount = rated(chain, run.last + 1)
    if price.model == STAIRSTEP:
        amount = max(0, amount - so_far)
    elif earlier or joined(segments[chain : run.first], price.meter).is_used:
        amount -= rated(chain, run.first)
    billed[price.key] = Billed(chain, so_far + amount)
    begins = segments[run.first].start
    return Line(
        line_key=line_key(run, begins),
        price_key=price.key,
        description=price.description or price.key,
        start=begins,
        end=segments[run.last].end,
        quantity=joined(segments[run.first : run.last + 1], price.meter).total,
        unit_amount={PER_UNIT: price.unit_amount, PACKAGE: price.package_amount}.get(price.model),
        amount_minor=amount,
        segment=run.first,
    )


def priced_lines(request: Request) -> list[Line]:
    """Return every priced line of a document, in order of the prices' stretches."""
    billed: dict[str, Billed] = {}
    lines: list[Line] = []
    for run in price_runs(request.segments):
        if run.price.model == FLAT:
            lines.extend(flat_lines(request, run))
        else:
            lines.append(usage_line(request, run, billed))
    return lines
