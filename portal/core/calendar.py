"""Calendar months in UTC, for quotas that follow the calendar instead of the billing anchor."""

from datetime import UTC, datetime


def month_windows(now: datetime) -> tuple[tuple[datetime, datetime], tuple[datetime, datetime]]:
    """Return the calendar month `[start, end)` that holds `now`, and the next one.

    >>> [f"{end:%Y-%m-%d}" for _, end in month_windows(datetime(2026, 12, 31, 23, tzinfo=UTC))]
    ['2027-01-01', '2027-02-01']
    """
    first = month_start(now)
    second = month_start(first, ahead=1)
    return (first, second), (second, month_start(first, ahead=2))


def month_start(instant: datetime, *, ahead: int = 0) -> datetime:
    """Return the first instant of the month `ahead` months after that of `instant`."""
    in_utc = instant.astimezone(UTC)
    months = in_utc.year * 12 + in_utc.month - 1 + ahead
    return datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC)
