"""Which part of a period a stretch is: by the second, by whole local days, or not at all."""

from datetime import datetime
from fractions import Fraction
from zoneinfo import ZoneInfo

from portal.core.money import divide


def _microseconds(start: datetime, end: datetime) -> int:
    span = end - start
    return (span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds


def _days(start: datetime, end: datetime, zone: str) -> int:
    place = ZoneInfo(zone)
    return (end.astimezone(place).date() - start.astimezone(place).date()).days


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
        whole = _days(*period, time_zone)
        return divide(_days(start, end, time_zone), whole) if whole else Fraction(0)
    return divide(_microseconds(start, end), _microseconds(*period))
