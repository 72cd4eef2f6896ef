"""The priced lines of a document: each price over each of its stretches, rounded once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from billing.rating.document import Request, Stretch, Usage
from billing.rating.models import rate_events, rate_quantity
from billing.rating.proration import fraction
from portal.core.money import to_minor
from portal.core.plan_terms import FLAT, PERCENTAGE, Price, price_normal_form, time_text


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
    normal = price_normal_form(price)
    return any(p.key == price.key and price_normal_form(p) == normal for p in before.terms.prices)


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
    """Charge a flat price from its start to the period's end, and credit what was not used."""
    price, amount = run.price, Fraction(run.price.amount or 0)
    begins, ends = request.segments[run.first].start, request.segments[run.last].end
    start = max(begins, request.trial_ends_at) if request.trial_ends_at else begins
    period = (request.start, request.end)
    in_advance = price.timing == "in_advance"

    def share(since: datetime, until: datetime) -> int:
        part = fraction(
            since, until, period=period, proration=price.proration, time_zone=request.time_zone
        )
        return to_minor(amount * part, request.currency)

    over = start >= ends  # the trial outlasts the stretch: nothing is due
    charged_to = request.end if in_advance else ends
    charge = 0 if over else share(start, charged_to)
    if not in_advance and price.proration == "none" and ends != request.end:
        charge = 0
    words = price.description or price.key
    shown_to = ends if over else charged_to
    shown_from = begins if over else start
    yield Line(line_key(run, begins), price.key, words, shown_from, shown_to,
               Fraction(1), price.amount, charge, run.first)  # fmt: skip
    if in_advance and not over and ends < request.end and price.proration != "none":
        yield Line(
            line_key(run, begins, ":unused"), price.key, f"{words}: unused time", ends,
            request.end, Fraction(1), price.amount, -share(ends, request.end), run.first,
        )  # fmt: skip


def _joined(segments: Sequence[Stretch], meter: str) -> Usage:
    events: tuple[Fraction, ...] = ()
    quantity, is_events = Fraction(0), False
    for segment in segments:
        usage = segment.usage.get(meter, Usage())
        if usage.events is not None:
            is_events = True
            events += usage.events
        quantity += usage.total
    return Usage(quantity, events if is_events else None)


def _rated(price: Price, usage: Usage, currency: str) -> int:
    if price.model == PERCENTAGE:
        return to_minor(rate_events(price, usage.events or ()), currency)
    return to_minor(rate_quantity(price, usage.total), currency)


def usage_line(request: Request, run: Run, billed: dict[str, tuple[int, int]]) -> Line:
    """Rate a stretch's own usage on top of what its chain used before.

    billed   key -> (chain, minor units billed in it): tells a key's first stretch of a chain from
             later ones, and what a `stairstep` has had so far; updated here
    """
    price, segments = run.price, request.segments
    chain = max((i for i in range(run.first + 1) if not segments[i].carry_over), default=0)
    before = _joined(segments[chain : run.first], price.meter)
    own = _joined(segments[run.first : run.last + 1], price.meter)
    total = _joined(segments[chain : run.last + 1], price.meter)
    held = billed.get(price.key)
    first_of_chain = held is None or held[0] != chain
    so_far = 0 if held is None or first_of_chain else held[1]
    amount = _rated(price, total, request.currency)
    nothing_before = before.total == 0 and not before.events
    if price.model == "stairstep":
        amount = max(0, amount - so_far)
    elif not (first_of_chain and nothing_before):
        amount -= _rated(price, before, request.currency)
    billed[price.key] = (chain, so_far + amount)
    unit = {"per_unit": price.unit_amount, "package": price.package_amount}.get(price.model)
    begins = segments[run.first].start
    return Line(
        line_key(run, begins), price.key, price.description or price.key, begins,
        segments[run.last].end, own.total, unit, amount, run.first,
    )  # fmt: skip


def priced_lines(request: Request) -> list[Line]:
    """Return every priced line of a document, in order of the prices' stretches."""
    billed: dict[str, tuple[int, int]] = {}
    lines: list[Line] = []
    for run in price_runs(request.segments):
        if run.price.model == FLAT:
            lines.extend(flat_lines(request, run))
        else:
            lines.append(usage_line(request, run, billed))
    return lines
