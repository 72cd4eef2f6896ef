"""Charts: bars stand on zero, stay inside the frame, and the table has the same numbers."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.core.chart_layout import (
    BOTTOM,
    HEIGHT,
    TOP,
    WIDTH,
    BarChart,
    Series,
    build_gauge,
    build_layout,
    nice_step,
    spark_points,
)

units = st.integers(min_value=0, max_value=10**12).map(Decimal)


def chart(*columns: tuple[Decimal, ...]) -> BarChart:
    series = tuple(Series(f"s{n}", str(n), column) for n, column in enumerate(columns, start=1))
    labels = tuple(f"d{n}" for n in range(len(columns[0])))
    return BarChart("Requests", "Some", labels, series)


@given(st.lists(st.tuples(units, units), min_size=1, max_size=90))
def test_bars_stay_inside_the_frame_and_stack_from_zero(
    rows: list[tuple[Decimal, Decimal]],
) -> None:
    drawn = build_layout(chart(tuple(a for a, _ in rows), tuple(b for _, b in rows)))
    for bar in drawn.bars:
        assert bar.y >= TOP - 1
        assert bar.y + bar.height <= HEIGHT - BOTTOM + 1
        assert 0 <= bar.x <= bar.x + bar.width <= WIDTH
    assert len(drawn.ticks) <= 6
    assert drawn.ticks[0].value == 0
    assert drawn.ticks[-1].value >= max(a + b for a, b in rows)
    assert len(drawn.labels) <= 10


def test_the_highest_bar_is_not_above_the_highest_tick() -> None:
    drawn = build_layout(chart((Decimal(70), Decimal(12))))
    assert [tick.value for tick in drawn.ticks] == [0, 20, 40, 60, 80]
    assert min(bar.y for bar in drawn.bars) > drawn.ticks[-1].y


def test_the_table_has_a_total_per_label() -> None:
    rows = chart((Decimal(1), Decimal(2)), (Decimal(10), Decimal(20))).rows
    assert rows == (
        ("d0", (Decimal(1), Decimal(10)), Decimal(11)),
        ("d1", (Decimal(2), Decimal(20)), Decimal(22)),
    )


@pytest.mark.parametrize(
    ("case", "used", "included", "limit", "parts"),
    [
        ("nothing used", 0, 100, None, (0, 0, 1000, 0)),
        ("exactly used up", 100, 100, None, (1000, 0, 1000, 100)),
        ("overage below a limit", 150, 100, 200, (500, 250, 500, 150)),
        ("beyond the limit", 300, 100, 200, (333, 666, 333, 300)),
        ("nothing included", 5, 0, None, (0, 1000, 0, 0)),
    ],
)
def test_gauge(
    case: str, used: int, included: int, limit: int | None, parts: tuple[int, ...]
) -> None:
    bound = None if limit is None else Decimal(limit)
    found = build_gauge(used=Decimal(used), included=Decimal(included), limit=bound)
    assert (found.inside, found.over, found.mark, found.percent) == parts, case


@given(st.lists(units, max_size=40))
def test_a_sparkline_never_leaves_its_box(values: list[Decimal]) -> None:
    for point in spark_points(values).split():
        x, y = (int(part) for part in point.split(","))
        assert 0 <= x <= 80
        assert 0 <= y <= 20


@given(units)
def test_a_nice_step_needs_at_most_four_lines(top: Decimal) -> None:
    assert nice_step(top) * 4 >= top
