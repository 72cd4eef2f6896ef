"""The rating document of `docs/rating.md`: from plain JSON values to a typed request.

Strict: every problem at once, each with the path of its field. Never raises.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from typing import Any, Final
from zoneinfo import ZoneInfo

from portal.core.checked_input import Fields, Problem, Refusal, exact_decimal
from portal.core.money import EXPONENTS
from portal.core.plan_terms import METER, Terms, check_applies_to, read_terms

_DOCUMENT: Final = frozenset(
    {"currency", "period", "time_zone", "trial_ends_at", "trial_usage_free", "terms", "usage",
     "segments"}
)  # fmt: skip
_SEGMENT: Final = frozenset({"from", "to", "terms", "usage", "carry_over"})
_USAGE: Final = frozenset({"quantity", "events", "cumulative"})
MAX_EVENTS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Usage:
    """One meter's usage: a quantity, or events in order; `cumulative` = totals of pieces."""

    quantity: Fraction = Fraction(0)
    events: tuple[Fraction, ...] | None = None
    cumulative: tuple[Fraction, ...] | None = None

    @property
    def total(self) -> Fraction:
        return self.quantity if self.events is None else sum(self.events, Fraction(0))


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
    path = f"{source.path}.usage" if source.path else "usage"
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
        row = Fields.read(value, at, source.problems, _USAGE)
        if sum(row.has(name) for name in _USAGE) != 1:
            row.refuse("", "usage_kind", "needs one of quantity, events, cumulative")
        elif row.has("events"):
            found[meter] = Usage(events=_numbers(row, "events"))
        elif row.has("cumulative"):
            if not pieces:
                row.refuse("cumulative", "usage_kind", "does not go with segments")
            totals = _numbers(row, "cumulative")
            found[meter] = Usage(totals[-1] if totals else Fraction(0), cumulative=totals)
        else:
            found[meter] = Usage(Fraction(row.signed("quantity")))
    return found


def _segments(source: Fields, start: datetime, end: datetime, currency: str) -> list[Stretch]:
    found: list[Stretch] = []
    for path, value in source.items("segments"):
        row = Fields.read(value, path, source.problems, _SEGMENT)
        stretch = Stretch(
            row.time("from"),
            row.time("to"),
            read_terms(row.values.get("terms", {}), f"{path}.terms", source.problems, currency),
            _usage(row, pieces=False),
            row.flag("carry_over", default=True),
        )
        if stretch.end < stretch.start:
            row.refuse("to", "ends_before_start", "must not be before from")
        if stretch.start < start or stretch.end > end:
            row.refuse("", "outside_period", "must lie inside the period")
        if found and stretch.start < found[-1].end:
            row.refuse("from", "segment_overlap", "must not begin before the last one ends")
        found.append(stretch)
    return found


_EVENTS_ONLY: Final = frozenset({"percentage"})
_EITHER: Final = frozenset({"dynamic", "graduated_percentage", "flat"})


def _check_kinds(path: str, terms: Terms, usage: Mapping[str, Usage], out: list[Problem]) -> None:
    at = f"{path}." if path else ""
    for price in terms.prices:
        held = usage.get(price.meter) if price.meter else None
        if held is None or price.model in _EITHER:
            continue
        if (held.events is not None) != (price.model in _EVENTS_ONLY):
            wanted = "events" if price.model in _EVENTS_ONLY else "a quantity"
            message = f"price {price.key} ({price.model}) takes {wanted}"
            out.append(Problem(f"{at}usage.{price.meter}", "usage_kind", message))


def _check_meters(segments: list[Stretch], out: list[Problem]) -> None:
    """A meter gives quantities or events in a document, not both."""
    kinds: dict[str, bool] = {}
    for index, stretch in enumerate(segments):
        for meter, usage in stretch.usage.items():
            is_events = usage.events is not None
            if kinds.setdefault(meter, is_events) != is_events:
                path = f"segments[{index}].usage.{meter}"
                out.append(Problem(path, "usage_kind", "mixes quantities and events"))


def _check_pieces(usage: Mapping[str, Usage], out: list[Problem]) -> None:
    lengths = {len(u.cumulative) if u.cumulative is not None else -1 for u in usage.values()}
    if len(lengths) > 1 and lengths != {-1}:
        out.append(Problem("usage", "pieces_length", "every meter needs as many cumulative"))
    if 0 in lengths:
        out.append(Problem("usage", "pieces_length", "cumulative needs at least one total"))


def _zone(source: Fields) -> str:
    name = source.values.get("time_zone")
    if name is None:
        return "UTC"
    try:
        if isinstance(name, str):
            ZoneInfo(name)
            return name
    except (KeyError, ValueError, OSError):
        pass
    source.refuse("time_zone", "unknown_time_zone", "must be an IANA time zone such as UTC")
    return "UTC"


def _period(source: Fields) -> tuple[datetime, datetime]:
    if not source.has("period"):
        source.refuse("period", "required", "is required")
    row = Fields.read(
        source.values.get("period") or {}, "period", source.problems, {"start", "end"}
    )
    start, end = row.time("start"), row.time("end")
    if end < start:
        row.refuse("end", "ends_before_start", "must not be before the start")
    return start, end


def parse_request(document: Any) -> Request | tuple[Problem, ...]:
    """Check a document as a whole; return the request, or every problem at once.

    >>> parse_request([])[0].code
    'not_an_object'
    """
    problems: list[Problem] = []
    source = Fields.read(document, "", problems, _DOCUMENT)
    currency = source.choice("currency", EXPONENTS)
    start, end = _period(source)
    segments = _segments(source, start, end, currency)
    if segments and (source.has("terms") or source.has("usage")):
        source.refuse("segments", "terms_twice", "replaces terms and usage")
    if not segments:
        if not source.has("terms"):
            source.refuse("terms", "required", "is required")
        terms = read_terms(source.values.get("terms") or {}, "terms", problems, currency)
        usage = _usage(source, pieces=True)
        _check_pieces(usage, problems)
        segments = [Stretch(start, end, terms, usage)]
        paths = [""]
    else:
        paths = [f"segments[{index}]" for index in range(len(segments))]
    for path, stretch in zip(paths, segments, strict=True):
        _check_kinds(path, stretch.terms, stretch.usage, problems)
    check_applies_to(
        [(f"{p}.terms" if p else "terms", s.terms) for p, s in zip(paths, segments, strict=True)],
        problems,
    )
    _check_meters(segments, problems)
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
