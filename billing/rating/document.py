"""The rating document of `docs/rating.md`: from plain JSON values to a typed request.

Strict: every problem at once, each with the path of its field. Never raises.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from typing import Final
from zoneinfo import ZoneInfo

from portal.core.checked_input import EPOCH, Fields, Problem, Refusal, exact_decimal, path_of
from portal.core.money import EXPONENTS
from portal.core.plan_terms import (
    EITHER_KIND,
    EVENTS_ONLY,
    METER,
    Price,
    Terms,
    check_applies_to,
    read_terms,
)

_DOCUMENT: Final = frozenset(
    {"currency", "period", "time_zone", "trial_ends_at", "trial_usage_free", "terms", "usage",
     "segments"}
)  # fmt: skip
_SEGMENT: Final = frozenset({"from", "to", "terms", "usage", "carry_over"})
_USAGE: Final = frozenset({"quantity", "events", "cumulative"})


@dataclass(frozen=True, slots=True)
class Usage:
    """One meter's usage: a quantity, or events in order; `cumulative` = totals of pieces."""

    quantity: Fraction = Fraction(0)
    events: tuple[Fraction, ...] | None = None
    cumulative: tuple[Fraction, ...] | None = None

    @property
    def total(self) -> Fraction:
        """The raw quantity; of events, their sum."""
        return self.quantity if self.events is None else sum(self.events, Fraction(0))

    @property
    def is_used(self) -> bool:
        return bool(self.events) or bool(self.quantity)


@dataclass(frozen=True, slots=True)
class Stretch:
    """A segment `[start, end)` of the period with constant terms, and its usage by meter."""

    start: datetime
    end: datetime
    terms: Terms
    usage: Mapping[str, Usage] = field(default_factory=dict)
    carry_over: bool = True


@dataclass(frozen=True, slots=True)
class Request:
    """Everything `rate` needs; `[start, end)` is the billing period."""

    currency: str
    start: datetime
    end: datetime
    segments: tuple[Stretch, ...]
    time_zone: str = "UTC"
    trial_ends_at: datetime | None = None
    trial_usage_free: bool = False

    @property
    def pieces(self) -> int:
        """How many pieces the period is billed in; 0 when it is billed as a whole."""
        usages = (usage for segment in self.segments for usage in segment.usage.values())
        return max((len(usage.cumulative or ()) for usage in usages), default=0)


def _numbers(source: Fields, name: str) -> tuple[Fraction, ...]:
    values = []
    for path, item in source.items(name):
        try:
            values.append(Fraction(exact_decimal(item)))
        except Refusal as refusal:
            source.problems.append(Problem(path, *refusal.args))
    return tuple(values)


def _usage(source: Fields, *, pieces: bool) -> dict[str, Usage]:
    if not source.has("usage"):
        return {}
    path = path_of(source.path, "usage")
    held = source.values["usage"]
    if not isinstance(held, dict):
        source.refuse("usage", "not_an_object", "must be an object")
        return {}
    found: dict[str, Usage] = {}
    for meter, value in held.items():
        at = f"{path}.{meter}"
        if not isinstance(meter, str) or not METER.fullmatch(meter):
            source.problems.append(Problem(at, "not_a_text", "must be the name of a meter"))
            continue
        found[meter] = _meter_usage(Fields.read(value, at, source.problems, _USAGE), pieces=pieces)
    return found


def _meter_usage(row: Fields, *, pieces: bool) -> Usage:
    if sum(row.has(name) for name in _USAGE) != 1:
        row.refuse("", "usage_kind", "needs exactly one of quantity, events, cumulative")
        return Usage()
    if row.has("events"):
        return Usage(events=_numbers(row, "events"))
    if row.has("quantity"):
        return Usage(Fraction(row.signed("quantity")))
    if not pieces:
        row.refuse("cumulative", "usage_kind", "does not go with segments")
    totals = _numbers(row, "cumulative")
    return Usage(totals[-1] if totals else Fraction(0), cumulative=totals)


def _segments(source: Fields, period: tuple[datetime, datetime] | None) -> list[Stretch]:
    """Read the segments; `period` is None where it could not be read itself."""
    found: list[Stretch] = []
    currency = str(source.values.get("currency") or "")
    for path, value in source.items("segments"):
        row = Fields.read(value, path, source.problems, _SEGMENT)
        before = len(source.problems)
        start, end = row.time("from"), row.time("to")
        if period is not None and len(source.problems) == before:
            _check_times(row, (start, end), period, found)
        if not row.has("terms"):
            row.refuse("terms", "required", "is required")
        terms = read_terms(
            row.values["terms"] if row.has("terms") else {},
            f"{path}.terms",
            source.problems,
            currency,
        )
        usage, carry_over = _usage(row, pieces=False), row.flag("carry_over", default=True)
        found.append(Stretch(start, end, terms, usage, carry_over))
    return found


def _check_times(
    row: Fields,
    stretch: tuple[datetime, datetime],
    period: tuple[datetime, datetime],
    earlier: list[Stretch],
) -> None:
    start, end = stretch
    if end < start or (end == start and period[0] < period[1]):
        row.refuse("to", "ends_before_start", "must be after from")
    if start < period[0]:
        row.refuse("from", "outside_period", "must not be before the period's start")
    if end > period[1]:
        row.refuse("to", "outside_period", "must not be after the period's end")
    if earlier and (start < earlier[-1].end or end == start):
        row.refuse("from", "segment_overlap", "must not begin before the last one ends")


def _fits(price: Price, usage: Usage) -> bool:
    """Say whether a price can read this kind of usage."""
    return price.model in EITHER_KIND or (usage.events is not None) == (price.model in EVENTS_ONLY)


def _check_kinds(paths: Sequence[str], segments: list[Stretch], out: list[Problem]) -> None:
    """Hold each meter's usage to what its prices read, in every segment: usage carries over."""
    readers: dict[str, list[Price]] = {}
    for stretch in segments:
        for price in stretch.terms.prices:
            if price.meter:
                readers.setdefault(price.meter, []).append(price)
    first_kind: dict[str, bool] = {}
    for path, stretch in zip(paths, segments, strict=True):
        for meter, usage in stretch.usage.items():
            is_events = usage.events is not None
            name = (
                "events" if is_events else "quantity" if usage.cumulative is None else "cumulative"
            )
            at = f"{path_of(path, 'usage')}.{meter}.{name}"
            if first_kind.setdefault(meter, is_events) != is_events:
                out.append(Problem(at, "usage_kind", "must not mix quantities and events"))
            wrong = next((p for p in readers.get(meter, ()) if not _fits(p, usage)), None)
            if wrong is not None:
                wanted = "events" if wrong.model in EVENTS_ONLY else "a quantity"
                why = f"price {wrong.key} of model {wrong.model} takes {wanted}"
                out.append(Problem(at, "usage_kind", why))


def _check_pieces(usage: Mapping[str, Usage], out: list[Problem]) -> None:
    """Hold `cumulative` to the same number of pieces on every meter, at least one."""
    counts = {meter: len(u.cumulative) for meter, u in usage.items() if u.cumulative is not None}
    if not counts:
        return
    count = max(counts.values())
    for meter in usage:
        if counts.get(meter, -1) != count or not count:
            at = f"usage.{meter}" + (".cumulative" if meter in counts else "")
            why = "must be cumulative and equally long on every meter, with at least one total"
            out.append(Problem(at, "pieces_length", why))


def _zone(source: Fields) -> str:
    name = source.values.get("time_zone")
    if name is None or name == "UTC":
        return "UTC"
    try:
        if isinstance(name, str):
            ZoneInfo(name)
            return name
    except (KeyError, ValueError, OSError):
        pass
    source.refuse("time_zone", "unknown_time_zone", "must be an IANA time zone such as UTC")
    return "UTC"


def _period(source: Fields) -> tuple[datetime, datetime] | None:
    """Read the period, or None where it is wrong."""
    if not source.has("period"):
        source.refuse("period", "required", "is required")
        return None
    before = len(source.problems)
    row = Fields.read(source.values["period"], "period", source.problems, ("start", "end"))
    if not row.values and len(source.problems) > before:
        return None
    start, end = row.time("start"), row.time("end")
    if len(source.problems) == before and end < start:
        row.refuse("end", "ends_before_start", "must not be before the start")
    return (start, end) if len(source.problems) == before else None


def _whole_period(source: Fields, period: tuple[datetime, datetime], currency: str) -> Stretch:
    """Read `terms` and `usage` as one segment over the whole period."""
    if not source.has("terms"):
        source.refuse("terms", "required", "is required")
    held = source.values["terms"] if source.has("terms") else {}
    terms = read_terms(held, "terms", source.problems, currency)
    usage = _usage(source, pieces=True)
    _check_pieces(usage, source.problems)
    return Stretch(*period, terms, usage)


def parse_request(document: object) -> Request | tuple[Problem, ...]:
    """Check a document as a whole; return the request, or every problem at once. Never raises.

    >>> parse_request([])[0].code
    'not_an_object'
    """
    problems: list[Problem] = []
    source = Fields.read(document, "", problems, _DOCUMENT)
    if not isinstance(document, dict):
        return tuple(problems)
    currency = source.choice("currency", EXPONENTS)
    period = _period(source)
    start, end = period or (EPOCH, EPOCH)
    segments = _segments(source, period)
    if segments:
        for name in ("terms", "usage"):
            if source.values.get(name):
                source.refuse(name, "terms_twice", "does not go with segments")
        paths = [f"segments[{index}]" for index in range(len(segments))]
    else:
        segments, paths = [_whole_period(source, (start, end), currency)], [""]
    _check_kinds(paths, segments, problems)
    pairs = zip(paths, segments, strict=True)
    check_applies_to([(path_of(path, "terms"), s.terms) for path, s in pairs], problems)
    request = Request(
        currency,
        start,
        end,
        tuple(segments),
        _zone(source),
        source.optional_time("trial_ends_at"),
        source.flag("trial_usage_free", default=False),
    )
    return tuple(problems) or request
