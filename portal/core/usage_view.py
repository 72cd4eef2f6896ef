"""What a usage page shows: which interval was asked for, and rows turned into a chart.

Pure: the parameters of the query string and the reader's rows arrive as arguments.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Final

from portal.core.chart_layout import Series

PRESETS: Final[Mapping[str, timedelta]] = {
    "24h": timedelta(hours=24),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
    "90d": timedelta(days=90),
}
DEFAULT_PRESET: Final = "7d"
MAX_DAYS: Final = 400
MAX_SERIES: Final = 5
_HOURLY_UP_TO: Final = timedelta(hours=48)


@dataclass(frozen=True, slots=True)
class Range:
    """`[start, end)` and how it was asked for; `preset` is empty for dates of the person's own."""

    start: datetime
    end: datetime
    preset: str

    @property
    def hourly(self) -> bool:
        return self.end - self.start <= _HOURLY_UP_TO

    @property
    def first_day(self) -> date:
        return self.start.date()

    @property
    def last_day(self) -> date:
        """The last day shown; a range that ends at midnight ends with the day before."""
        return (self.end - timedelta(microseconds=1)).date()


def _day(text: str) -> date | None:
    """Read a day; the calendar's last one is none, as a range would end after it."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if day < date.max else None


def build_range(*, preset: str, first: str, last: str, now: datetime) -> Range:
    """Read a preset, or two dates (both included); anything unreadable is the default preset.

    >>> now = datetime(2026, 3, 14, tzinfo=UTC)
    >>> found = build_range(preset="", first="2026-03-01", last="2026-03-02", now=now)
    >>> found.start.isoformat(), found.end.isoformat()
    ('2026-03-01T00:00:00+00:00', '2026-03-03T00:00:00+00:00')
    """
    since, until = _day(first), _day(last)
    if not preset and since and until and 0 <= (until - since).days <= MAX_DAYS:
        return Range(_midnight(since), _midnight(until + timedelta(days=1)), "")
    name = preset if preset in PRESETS else DEFAULT_PRESET
    span = PRESETS[name]
    start = now - span
    if span > _HOURLY_UP_TO:  # whole days, so that the first bar is not a fragment
        start = _midnight(start.date() + timedelta(days=1))
    else:
        start = (start + timedelta(hours=1)).replace(minute=0, second=0, microsecond=0)
    return Range(start, now, name)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def build_buckets(shown: Range) -> tuple[datetime, ...]:
    """Return the start of each bar, hours or days."""
    step = timedelta(hours=1) if shown.hourly else timedelta(days=1)
    at = shown.start.replace(minute=0, second=0, microsecond=0)
    at = at if shown.hourly else at.replace(hour=0)
    buckets = []
    while at < shown.end:
        buckets.append(at)
        at += step
    return tuple(buckets)


def bucket_of(text: str) -> datetime:
    """Read the reader's `day` or `hour` value as the bucket's start.

    >>> bucket_of("2026-03-14").isoformat(), bucket_of("2026-03-14T09:00:00Z").isoformat()
    ('2026-03-14T00:00:00+00:00', '2026-03-14T09:00:00+00:00')
    """
    found = datetime.fromisoformat(text.removesuffix("Z"))
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def status_class(status: int) -> str:
    """Return how a status is coloured: 2xx (3xx with it), 4xx, 429 or 5xx.

    >>> [status_class(s) for s in (200, 304, 404, 429, 503)]
    ['2xx', '2xx', '4xx', '429', '5xx']
    """
    if status == 429:
        return "429"
    if status >= 500:
        return "5xx"
    return "4xx" if status >= 400 else "2xx"


def status_series(
    counts: Mapping[tuple[datetime, int], int], buckets: Sequence[datetime]
) -> tuple[Series, ...]:
    """Stack requests by class of status; classes that never occur are left out."""
    classes = ("2xx", "4xx", "429", "5xx")
    by_class: dict[str, dict[datetime, int]] = {name: {} for name in classes}
    for (bucket, status), events in counts.items():
        column = by_class[status_class(status)]
        column[bucket] = column.get(bucket, 0) + events
    return tuple(
        Series("2xx, 3xx" if name == "2xx" else name, name, _column(by_class[name], buckets))
        for name in classes
        if by_class[name]
    )


def top_series(
    counts: Mapping[tuple[datetime, str], int],
    buckets: Sequence[datetime],
    *,
    name_of: Callable[[str], str],
    other: str,
) -> tuple[Series, ...]:
    """Stack requests by value: the five largest by name, the rest together as `other`."""
    totals: dict[str, int] = {}
    for (_bucket, value), events in counts.items():
        totals[value] = totals.get(value, 0) + events
    ranked = sorted(totals, key=lambda value: (-totals[value], value))
    columns: dict[str, dict[datetime, int]] = {}
    for (bucket, value), events in counts.items():
        column = columns.setdefault(value if value in ranked[:MAX_SERIES] else "", {})
        column[bucket] = column.get(bucket, 0) + events
    series = [
        Series(name_of(value), str(index), _column(columns[value], buckets))
        for index, value in enumerate(ranked[:MAX_SERIES], start=1)
    ]
    if len(ranked) > MAX_SERIES:
        series.append(Series(other, "other", _column(columns[""], buckets)))
    return tuple(series)


def _column(counts: Mapping[datetime, int], buckets: Sequence[datetime]) -> tuple[Decimal, ...]:
    return tuple(Decimal(counts.get(bucket, 0)) for bucket in buckets)
