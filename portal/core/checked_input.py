"""Reads plain JSON values strictly and collects every problem with the path of its field.

Owns no rule of any subject: `plan_terms` and the rating document say what they expect. A wrong
value is recorded and a harmless one of the right type is returned in its place, so that reading
goes on to the next field; whoever finds problems at the end throws the rest away. Never raises,
whatever the value is.
"""

import re
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from decimal import Context, Decimal
from typing import Final, NamedTuple

MAX_PLACES: Final = 12
MAX_MAIL_CHARS: Final = 254  # RFC 5321's longest path, and the columns' length
MAX_ADJUSTED: Final = 18  # 10^18 is the largest power of ten a value may have
_LIMIT: Final = Decimal(10) ** MAX_ADJUSTED
_PLAIN: Final = re.compile(r"[+-]?[0-9]{1,40}(?:\.[0-9]{1,40})?")
_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?"
    r"(Z|[+-][0-9]{2}:[0-9]{2})?"
)
_EXACT: Final = Context(prec=100)
_SMALLEST: Final = Decimal(1).scaleb(-MAX_PLACES)
_YEARS: Final = (1900, 9000)  # far enough from the ends that no zone can leave the calendar
ZERO: Final = Decimal(0)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Problem(NamedTuple):
    """Why a document was refused; `path` names the field, `code` is stable."""

    path: str
    code: str
    message: str


class Refusal(Exception):
    """A value cannot be read; carries code and message."""


def exact_decimal(value: object) -> Decimal:
    """Read a decimal of up to 12 places, at most 10^18 in size, exactly.

    :raises Refusal: with code and message.

    >>> exact_decimal("0.0025"), exact_decimal(Decimal("1E+3")), exact_decimal(7)
    (Decimal('0.0025'), Decimal('1000'), Decimal('7'))
    """
    if isinstance(value, str):
        if not _PLAIN.fullmatch(value):
            raise Refusal("not_a_decimal", "must be a plain decimal such as 12.50")
        number = Decimal(value)
    elif isinstance(value, Decimal):
        number = value
    elif isinstance(value, int) and not isinstance(value, bool):
        number = Decimal(value)
    elif type(value).__name__ == "float":  # by name: the word itself stays out of money code
        raise Refusal("inexact_number", "must be exact: write it as a string")
    else:
        raise Refusal("not_a_decimal", "must be a decimal, written as a string")
    return _bounded(number)


def _bounded(number: Decimal) -> Decimal:
    if not number.is_finite():
        raise Refusal("not_a_decimal", "must be a finite number")
    exponent = int(number.as_tuple().exponent)
    if not number:
        return ZERO if number.is_signed() or not -MAX_PLACES <= exponent <= 0 else number
    if number.adjusted() > MAX_ADJUSTED or number.copy_abs() > _LIMIT:
        raise Refusal("too_large", "must not be beyond 10^18")
    if exponent > 0:
        return number.quantize(Decimal(1), context=_EXACT)
    if exponent < -MAX_PLACES:
        placed = number.quantize(_SMALLEST, context=_EXACT)
        if placed != number:
            raise Refusal("too_many_places", f"must have at most {MAX_PLACES} decimal places")
        return placed
    return number


def utc_time(value: object) -> datetime:
    """Read an instant: ISO-8601 with its offset, or an aware datetime.

    :raises Refusal: with code and message.

    >>> utc_time("2026-01-01T01:00:00+01:00").isoformat()
    '2026-01-01T00:00:00+00:00'
    """
    instant = value
    if isinstance(value, str):
        found = _TIME.fullmatch(value)
        if not found:
            raise Refusal("not_a_time", "must be a time such as 2026-01-01T00:00:00Z")
        try:
            instant = datetime.fromisoformat(value)
        except ValueError:
            raise Refusal("not_a_time", "is no time that exists") from None
    if not isinstance(instant, datetime):
        raise Refusal("not_a_time", "must be a time such as 2026-01-01T00:00:00Z")
    if instant.utcoffset() is None:
        raise Refusal("naive_time", "must say its offset from UTC, such as Z")
    if not _YEARS[0] <= instant.year <= _YEARS[1]:
        raise Refusal("not_a_time", f"must be in the years {_YEARS[0]} to {_YEARS[1]}")
    return instant.astimezone(UTC)


def path_of(parent: str, name: object) -> str:
    """Append a field name or a list index to a path.

    >>> path_of("terms", "prices"), path_of("terms.prices", 0), path_of("", "terms")
    ('terms.prices', 'terms.prices[0]', 'terms')
    """
    if isinstance(name, int):
        return f"{parent}[{name}]"
    return f"{parent}.{name}" if parent else str(name)


class Fields:
    """One JSON object being read, with its path and the list that problems go to.

    A field that is null counts as absent everywhere.
    """

    __slots__ = ("path", "problems", "values")

    def __init__(self, values: dict[str, object], path: str, problems: list[Problem]) -> None:
        self.values = values
        self.path = path
        self.problems = problems

    @classmethod
    def read(
        cls, value: object, path: str, problems: list[Problem], known: Collection[str]
    ) -> "Fields":
        """Open an object; unknown fields are problems. What is no object reads as an empty one."""
        if not isinstance(value, dict):
            problems.append(Problem(path, "not_an_object", "must be an object"))
            return cls({}, path, problems)
        fields = cls(value, path, problems)
        for name in value:
            if name not in known:
                fields.refuse(str(name), "unknown_field", "is not a field of this object")
        return fields

    def refuse(self, name: str, code: str, message: str) -> None:
        """Record a problem of one field; an empty name means the object itself."""
        path = path_of(self.path, name) if name else self.path
        self.problems.append(Problem(path, code, message))

    def has(self, name: str) -> bool:
        return self.values.get(name) is not None

    def decimal(
        self, name: str, *, required: bool = True, positive: bool = False, at_most: int = 0
    ) -> Decimal:
        """Read a decimal that is not negative; zero stands in for one that is wrong."""
        if not self.has(name):
            if required:
                self.refuse(name, "required", "is required")
            return ZERO
        number = self.signed(name)
        if number < 0:
            self.refuse(name, "negative", "must not be negative")
        elif positive and not number:
            self.refuse(name, "not_positive", "must be above zero")
        elif at_most and number > at_most:
            self.refuse(name, "too_large", f"must be at most {at_most}")
        return number

    def optional(self, name: str) -> Decimal | None:
        """Read a decimal that is not negative, or None where it is absent."""
        return self.decimal(name) if self.has(name) else None

    def signed(self, name: str) -> Decimal:
        """Read a decimal of either sign."""
        try:
            return exact_decimal(self.values.get(name))
        except Refusal as refusal:
            self.refuse(name, *refusal.args)
        return ZERO

    def integer(self, name: str, *, default: int, low: int, high: int) -> int:
        """Read a whole number within `[low, high]`."""
        if not self.has(name):
            return default
        number = self.signed(name)
        if number != int(number) or not low <= number <= high:
            self.refuse(name, "not_an_integer", f"must be a whole number from {low} to {high}")
            return default
        return int(number)

    def text(self, name: str, *, pattern: re.Pattern[str], required: bool = True) -> str:
        if not self.has(name):
            if required:
                self.refuse(name, "required", "is required")
            return ""
        value = self.values[name]
        if not isinstance(value, str) or not pattern.fullmatch(value):
            self.refuse(name, "not_a_text", f"must be a text like {pattern.pattern}")
            return ""
        return value

    def choice(self, name: str, choices: Collection[str], *, default: str = "") -> str:
        """Read one of a few words; without a default it is required."""
        if not self.has(name):
            if not default:
                self.refuse(name, "required", "is required")
            return default
        value = self.values[name]
        if not isinstance(value, str) or value not in choices:
            self.refuse(name, "not_a_choice", f"must be one of {', '.join(sorted(choices))}")
            return default
        return value

    def flag(self, name: str, *, default: bool) -> bool:
        value = self.values.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.refuse(name, "not_a_boolean", "must be true or false")
            return default
        return value

    def time(self, name: str) -> datetime:
        """Read a required instant; the epoch stands in for one that is wrong."""
        if not self.has(name):
            self.refuse(name, "required", "is required")
            return EPOCH
        try:
            return utc_time(self.values[name])
        except Refusal as refusal:
            self.refuse(name, *refusal.args)
        return EPOCH

    def optional_time(self, name: str) -> datetime | None:
        return self.time(name) if self.has(name) else None

    def items(self, name: str) -> Iterator[tuple[str, object]]:
        """Yield (path, value) of a list's entries; an absent list has none."""
        value = self.values.get(name)
        if value is None:
            return
        if not isinstance(value, list | tuple):
            self.refuse(name, "not_a_list", "must be a list")
            return
        parent = path_of(self.path, name)
        for index, item in enumerate(value):
            yield f"{parent}[{index}]", item
