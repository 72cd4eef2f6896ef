"""Where the bars, lines and labels of a chart stand: integers in, integers out.

Pure; templates draw what is computed here. Bars start at zero, at most five grid lines.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

WIDTH: Final = 960
HEIGHT: Final = 260
LEFT: Final = 64
RIGHT: Final = 8
TOP: Final = 14
BOTTOM: Final = 26
MAX_LABELS: Final = 10
_STEPS: Final = (1, 2, 5)


@dataclass(frozen=True, slots=True)
class Series:
    """One colour of a stacked bar chart; `fill` is a class suffix: 1 to 5, other, 2xx, 4xx …"""

    name: str
    fill: str
    values: tuple[Decimal, ...]


@dataclass(frozen=True, slots=True)
class BarChart:
    """What a chart shows. `partial` is the index of the bar that is still filling (today)."""

    title: str
    description: str
    labels: tuple[str, ...]
    series: tuple[Series, ...]
    unit: str = ""
    partial: int | None = None
    limit: Decimal | None = None
    limit_label: str = ""

    @property
    def totals(self) -> tuple[Decimal, ...]:
        return tuple(
            sum((s.values[index] for s in self.series), Decimal(0))
            for index in range(len(self.labels))
        )

    @property
    def rows(self) -> tuple[tuple[str, tuple[Decimal, ...], Decimal], ...]:
        """Label, a value per series, total: the same numbers as a table."""
        columns = [series.values for series in self.series]
        values = zip(*columns, strict=True) if columns else [()] * len(self.labels)
        return tuple(zip(self.labels, values, self.totals, strict=True))


@dataclass(frozen=True, slots=True)
class Bar:
    x: int
    y: int
    width: int
    height: int
    fill: str
    label: str
    name: str
    value: Decimal
    partial: bool


@dataclass(frozen=True, slots=True)
class Tick:
    y: int
    value: int


@dataclass(frozen=True, slots=True)
class AxisLabel:
    x: int
    text: str


@dataclass(frozen=True, slots=True)
class Layout:
    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]
    labels: tuple[AxisLabel, ...]
    limit_y: int | None


def nice_step(top: Decimal, *, lines: int = 4) -> int:
    """Return the smallest of 1, 2, 5 times 10ⁿ that covers `top` in at most `lines` steps.

    >>> [nice_step(Decimal(n)) for n in (0, 3, 17, 1000, 1001)]
    [1, 1, 5, 500, 500]
    """
    scale = 1
    while True:
        for digit in _STEPS:
            if top <= digit * scale * lines:
                return digit * scale
        scale *= 10


def build_layout(chart: BarChart) -> Layout:
    """Place a stacked bar chart in a 960 by 260 frame."""
    highest = max((*chart.totals, chart.limit or Decimal(0)), default=Decimal(0))
    step = nice_step(highest)
    count = max(1, int(highest // step) + (1 if highest % step else 0))
    top = Decimal(step * count)
    return Layout(
        bars=tuple(_bars(chart, top)),
        ticks=tuple(Tick(_y(Decimal(step * n), top), step * n) for n in range(count + 1)),
        labels=tuple(_labels(chart.labels)),
        limit_y=None if chart.limit is None else _y(chart.limit, top),
    )


def _y(value: Decimal, top: Decimal) -> int:
    plot = HEIGHT - TOP - BOTTOM
    return HEIGHT - BOTTOM - int(value * plot // top)


def _slot(count: int, index: int) -> tuple[int, int]:
    """Return left edge and width of bar `index` of `count`, a quarter of the slot left free."""
    plot = WIDTH - LEFT - RIGHT
    start, end = LEFT + plot * index // count, LEFT + plot * (index + 1) // count
    gap = max(1, (end - start) // 8)
    width = min(end - start - 2 * gap, 64)
    return start + (end - start - width) // 2, max(1, width)


def _bars(chart: BarChart, top: Decimal) -> list[Bar]:
    bars = []
    for index, label in enumerate(chart.labels):
        x, width = _slot(len(chart.labels), index)
        below = Decimal(0)
        for series in chart.series:
            value = series.values[index]
            if value <= 0:
                continue
            y, bottom = _y(below + value, top), _y(below, top)
            height = max(1, bottom - y)
            partial = index == chart.partial
            bars.append(Bar(x, y, width, height, series.fill, label, series.name, value, partial))
            below += value
    return bars


def _labels(labels: Sequence[str]) -> list[AxisLabel]:
    """Name every nth bar, so that at most ten names stand below the axis."""
    every = -(-len(labels) // MAX_LABELS) or 1
    placed = []
    for index in range(0, len(labels), every):
        x, width = _slot(len(labels), index)
        placed.append(AxisLabel(x + width // 2, labels[index]))
    return placed


def spark_points(values: Sequence[Decimal], *, width: int = 80, height: int = 20) -> str:
    """Return the `points` of a polyline, zero at the bottom.

    >>> spark_points([Decimal(0), Decimal(5), Decimal(10)])
    '0,19 40,10 80,1'
    """
    if len(values) < 2:
        values = [*values, *values] or [Decimal(0), Decimal(0)]
    top = max(max(values), Decimal(1))
    last = len(values) - 1
    return " ".join(
        f"{width * index // last},{height - 1 - int(value * (height - 2) // top)}"
        for index, value in enumerate(values)
    )


@dataclass(frozen=True, slots=True)
class Gauge:
    """A bar of 1000: `inside` used within what is included, `over` beyond it, `mark` between."""

    inside: int
    over: int
    mark: int
    percent: int

    @property
    def over_zone(self) -> int:
        return 1000 - self.mark


def build_gauge(*, used: Decimal, included: Decimal, limit: Decimal | None) -> Gauge:
    """Scale a gauge: up to `limit` where there is one, to the use where that is more.

    >>> build_gauge(used=Decimal(50), included=Decimal(100), limit=None)
    Gauge(inside=500, over=0, mark=1000, percent=50)
    >>> build_gauge(used=Decimal(120), included=Decimal(100), limit=Decimal(200))
    Gauge(inside=500, over=100, mark=500, percent=120)
    """
    full = max(included, limit or Decimal(0), used, Decimal(1))
    mark = int(included * 1000 // full)
    inside = int(min(used, included) * 1000 // full)
    over = int(max(used - included, Decimal(0)) * 1000 // full)
    percent = int(used * 100 // included) if included else 0
    return Gauge(inside, over, mark, percent)
