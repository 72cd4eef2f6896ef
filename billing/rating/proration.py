"""Which part of a period a stretch is: by the second, by whole local days, or not at all."""

from datetime import UTC, datetime, timedelta, tzinfo
from fractions import Fraction
from typing import Final
from zoneinfo import ZoneInfo

from portal.core.money import divide

_MICROSECOND: Final = timedelta(microseconds=1)


def _zone(name: str) -> tzinfo:
    return UTC if name == "UTC" else ZoneInfo(name)  # UTC needs no zone database


def local_days(start: datetime, end: datetime, time_zone: str) -> int:
    """Count whole days in a zone: those that begin after the start's day and by the end's.

    Days of a partition add up to the days of the whole, whatever the hour of a change: the day of
    a change belongs to what begins on it.

    >>> local_days(datetime(2026, 3, 28, 23, tzinfo=UTC), datetime(2026, 3, 29, 22, tzinfo=UTC),
    ...            "Europe/Berlin")
    1
    """
    zone = _zone(time_zone)
    return (end.astimezone(zone).date() - start.astimezone(zone).date()).days


def fraction(
    start: datetime,
    end: datetime,
    *,
    period: tuple[datetime, datetime],
    proration: str,
    time_zone: str,
) -> Fraction:
    """Return the share of the period that `[start, end)` is, exact, in 0 to 1.

    `none` gives 1 for a stretch that is not empty. A period of zero length is worth zero.
    """
    if end <= start or period[1] <= period[0]:
        return Fraction(0)
    if proration == "none":
        return Fraction(1)
    if proration == "day":
        whole = local_days(*period, time_zone)
        return divide(local_days(start, end, time_zone), whole) if whole else Fraction(0)
    return divide((end - start) // _MICROSECOND, (period[1] - period[0]) // _MICROSECOND)
