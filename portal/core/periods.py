"""Billing periods: months that count from an anchor, half-open, aware UTC.

Pure arithmetic, for the moment when a period opens; its boundaries are stored then and history is
never computed again. Calls no clock.
"""

import calendar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from portal.errors import NaiveDatetimeError

_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Period:
    """A half-open stretch of time `[start, end)`."""

    start: datetime
    end: datetime

    def __contains__(self, instant: datetime) -> bool:
        return self.start <= instant < self.end

    @property
    def length_us(self) -> int:
        """Microseconds from start to end, exactly."""
        return (self.end - self.start) // _MICROSECOND


def _utc(instant: datetime) -> datetime:
    if instant.tzinfo is None:
        raise NaiveDatetimeError
    return instant.astimezone(UTC)


def add_months(anchor: datetime, months: int) -> datetime:
    """Return the anchor's day and time `months` later, clamped to that month's length.

    Always from the anchor, never from the last end, so that a clamped day comes back
    (31 Jan, 28 Feb, 31 Mar). Negative counts go back.

    :raises NaiveDatetimeError: if the anchor has no time zone.

    >>> anchor = datetime(2026, 1, 31, tzinfo=UTC)
    >>> [add_months(anchor, n).day for n in (1, 2, 3)]
    [28, 31, 30]
    """
    start = _utc(anchor)
    year, month0 = divmod(start.year * 12 + start.month - 1 + months, 12)
    last = calendar.monthrange(year, month0 + 1)[1]
    return start.replace(year=year, month=month0 + 1, day=min(start.day, last))


def period_number(instant: datetime, *, anchor: datetime) -> int:
    """Return which monthly period holds `instant`: 0 starts at the anchor, below zero before it.

    :raises NaiveDatetimeError: if either argument has no time zone.

    >>> anchor = datetime(2026, 1, 31, tzinfo=UTC)
    >>> period_number(datetime(2026, 2, 28, tzinfo=UTC), anchor=anchor)
    1
    """
    at, start = _utc(instant), _utc(anchor)
    number = (at.year - start.year) * 12 + at.month - start.month
    return number if add_months(start, number) <= at else number - 1


def period_of(number: int, *, anchor: datetime) -> Period:
    """Return the monthly period with this number, counted from the anchor.

    :raises NaiveDatetimeError: if the anchor has no time zone.
    """
    return Period(add_months(anchor, number), add_months(anchor, number + 1))


def period_at(instant: datetime, *, anchor: datetime) -> Period:
    """Return the monthly billing period `[start, end)` that holds `instant`.

    An instant on a boundary belongs to the period that starts there.

    :raises NaiveDatetimeError: if either argument has no time zone.

    >>> anchor = datetime(2026, 1, 31, tzinfo=UTC)
    >>> period_at(datetime(2026, 3, 1, tzinfo=UTC), anchor=anchor).end.isoformat()
    '2026-03-31T00:00:00+00:00'
    """
    return period_of(period_number(instant, anchor=anchor), anchor=anchor)
