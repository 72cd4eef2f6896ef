"""Ranges and series of the usage page."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.core.csv_cells import build_csv, safe_cell
from portal.core.usage_view import (
    build_buckets,
    build_range,
    status_series,
    top_series,
)

NOW = datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC)


@pytest.mark.parametrize(
    ("case", "preset", "first", "last", "start", "end"),
    [
        ("a day by the hour", "24h", "", "", "2026-03-13T10:00", "2026-03-14T09:26"),
        ("a week of whole days", "7d", "", "", "2026-03-08T00:00", "2026-03-14T09:26"),
        ("own dates", "", "2026-03-01", "2026-03-02", "2026-03-01T00:00", "2026-03-03T00:00"),
        ("preset wins", "7d", "2026-03-01", "2026-03-02", "2026-03-08T00:00", "2026-03-14T09:26"),
        ("wrong way", "", "2026-03-02", "2026-03-01", "2026-03-08T00:00", "2026-03-14T09:26"),
        ("over a year", "", "2020-01-01", "2026-03-01", "2026-03-08T00:00", "2026-03-14T09:26"),
        ("the last day", "", "9999-12-31", "9999-12-31", "2026-03-08T00:00", "2026-03-14T09:26"),
        ("last but one", "", "9999-12-30", "9999-12-30", "9999-12-30T00:00", "9999-12-31T00:00"),
        ("no date at all", "", "yesterday", "", "2026-03-08T00:00", "2026-03-14T09:26"),
    ],
)  # fmt: skip
def test_range(case: str, preset: str, first: str, last: str, start: str, end: str) -> None:
    found = build_range(preset=preset, first=first, last=last, now=NOW)
    assert f"{found.start:%Y-%m-%dT%H:%M}" == start, case
    assert f"{found.end:%Y-%m-%dT%H:%M}" == end, case


def test_the_last_day_of_whole_days_is_the_one_asked_for() -> None:
    found = build_range(preset="", first="2026-03-01", last="2026-03-02", now=NOW)
    assert str(found.last_day) == "2026-03-02"


@pytest.mark.parametrize(("preset", "bars"), [("24h", 24), ("7d", 7), ("30d", 30), ("90d", 90)])
def test_buckets_tile_the_range(preset: str, bars: int) -> None:
    found = build_range(preset=preset, first="", last="", now=NOW)
    buckets = build_buckets(found)
    step = buckets[1] - buckets[0]
    assert len(buckets) == bars
    assert buckets[0] == found.start
    assert all(b - a == step for a, b in pairwise(buckets))
    assert buckets[-1] < found.end <= buckets[-1] + step


def test_statuses_stack_by_class_and_absent_classes_are_left_out() -> None:
    days = (NOW, NOW + timedelta(days=1))
    counts = {(days[0], 200): 5, (days[0], 304): 2, (days[1], 429): 1}
    found = status_series(counts, days)
    assert [(s.fill, s.values) for s in found] == [
        ("2xx", (Decimal(7), Decimal(0))),
        ("429", (Decimal(0), Decimal(1))),
    ]


@given(
    st.dictionaries(
        st.tuples(st.sampled_from([NOW]), st.text("abcdefghij", min_size=1, max_size=1)),
        st.integers(min_value=1, max_value=1000),
        min_size=1,
    )
)
def test_the_largest_and_the_rest_together_are_everything(
    counts: dict[tuple[datetime, str], int],
) -> None:
    found = top_series(counts, (NOW,), name_of=lambda value: value, other="Other")
    assert len(found) <= 6
    assert sum(sum(s.values) for s in found) == sum(counts.values())


@given(st.text(min_size=1))
def test_no_text_cell_starts_a_formula(text: str) -> None:
    assert not safe_cell(text).startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


def test_numbers_stay_numbers_and_quotes_are_doubled() -> None:
    found = build_csv(["name", "units"], [['a "b", c', Decimal("-1.50")], ["=1+1", 3]])
    assert found == 'name,units\r\n"a ""b"", c",-1.50\r\n\'=1+1,3\r\n'
