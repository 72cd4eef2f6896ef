"""Months from an anchor: clamped, half-open, without gap or overlap."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.core.periods import Period, add_months, period_at, period_number, period_of
from portal.errors import NaiveDatetimeError

INSTANTS = st.integers(631_152_000, 3_786_912_000).map(lambda s: datetime.fromtimestamp(s, UTC))
ANCHORS = INSTANTS | st.sampled_from(
    [datetime(y, 1, d, 23, 59, 59, tzinfo=UTC) for y in (2023, 2024) for d in (29, 30, 31)]
    + [datetime(2024, 2, 29, tzinfo=UTC), datetime(2024, 12, 31, 12, tzinfo=UTC)]
)


@pytest.mark.parametrize(
    ("case", "anchor", "ends"),
    [
        ("31 January", datetime(2026, 1, 31, tzinfo=UTC), ["02-28", "03-31", "04-30", "05-31"]),
        ("leap year", datetime(2024, 1, 30, tzinfo=UTC), ["02-29", "03-30", "04-30", "05-30"]),
        ("29 February", datetime(2024, 2, 29, tzinfo=UTC), ["03-29", "04-29", "05-29", "06-29"]),
        ("year's end", datetime(2025, 11, 30, tzinfo=UTC), ["12-30", "01-30", "02-28", "03-30"]),
    ],
)
def test_months_clamp_and_come_back(case: str, anchor: datetime, ends: list[str]) -> None:
    assert [f"{add_months(anchor, n):%m-%d}" for n in range(1, 5)] == ends


@given(ANCHORS, st.integers(-600, 600))
def test_periods_tile_the_line(anchor: datetime, number: int) -> None:
    period, following = period_of(number, anchor=anchor), period_of(number + 1, anchor=anchor)
    assert period.start < period.end == following.start
    assert period_number(period.start, anchor=anchor) == number
    assert period_number(period.end - timedelta(microseconds=1), anchor=anchor) == number


@given(ANCHORS, INSTANTS)
def test_an_instant_is_in_its_period(anchor: datetime, instant: datetime) -> None:
    assert instant in period_at(instant, anchor=anchor)


def test_the_boundary_belongs_to_what_starts_there() -> None:
    anchor = datetime(2026, 1, 31, tzinfo=UTC)
    assert period_at(datetime(2026, 2, 28, tzinfo=UTC), anchor=anchor) == Period(
        datetime(2026, 2, 28, tzinfo=UTC), datetime(2026, 3, 31, tzinfo=UTC)
    )


def test_any_zone_goes_in_and_utc_comes_out() -> None:
    anchor = datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=2)))  # 31 December in UTC
    assert add_months(anchor, 2) == datetime(2026, 2, 28, 23, tzinfo=UTC)


def test_naive_times_are_refused() -> None:
    with pytest.raises(NaiveDatetimeError):
        add_months(datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None), 1)
