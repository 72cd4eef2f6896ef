"""What a bench run says: one table for people, JSON for programs, Markdown for the docs."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from tests.bench.arithmetic import Spread

_HEAD = ("part", "figure", "median", "lowest", "highest", "runs", "unit")


class InvalidRunError(Exception):
    """What was measured is not what the figure says; nothing may be reported."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the result. `unit` is `x` for a ratio."""

    part: str
    name: str
    spread: Spread
    unit: str


@dataclass(frozen=True, slots=True)
class Report:
    """All figures of one run, the machine they were taken on, and what could not be had."""

    machine: dict[str, str]
    options: dict[str, int]
    figures: tuple[Figure, ...]
    skipped: tuple[str, ...] = ()


def number(value: float) -> str:
    """Write a figure with three significant digits, thousands apart.

    >>> number(12345.6), number(45.678), number(0.19876)
    ('12,346', '45.7', '0.199')
    """
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"


def _row(figure: Figure) -> tuple[str, ...]:
    spread = figure.spread
    values = (number(spread.median), number(spread.low), number(spread.high), str(spread.runs))
    return (figure.part, figure.name, *values, figure.unit)


def _facts(report: Report) -> list[str]:
    facts = [f"{name}: {value}" for name, value in report.machine.items()]
    options = ", ".join(f"{name} {value}" for name, value in report.options.items())
    return [*facts, f"run: {options}", *(f"skipped: {line}" for line in report.skipped)]


def as_table(report: Report) -> str:
    """Write the run for a terminal."""
    rows = [_HEAD, *map(_row, report.figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = ["  ".join(map(_aligned, row, widths, range(len(row)))).rstrip() for row in rows]
    return "\n".join([*_facts(report), "", *lines]) + "\n"


def _aligned(cell: str, width: int, column: int) -> str:
    return cell.rjust(width) if 2 <= column <= 5 else cell.ljust(width)


def as_markdown(report: Report) -> str:
    """Write the run as the section that `docs/benchmarks.md` holds."""
    rows = [f"| {' | '.join(_row(figure))} |" for figure in report.figures]
    head = [f"| {' | '.join(_HEAD)} |", "|---|---|--:|--:|--:|--:|---|"]
    return "\n".join([*(f"- {fact}" for fact in _facts(report)), "", *head, *rows]) + "\n"


def as_json(report: Report) -> str:
    """Write the run for a program, digits as they were computed."""
    return json.dumps(asdict(report), indent=2) + "\n"


def figures(part: str, rows: Sequence[tuple[str, Spread, str]]) -> list[Figure]:
    return [Figure(part, name, spread, unit) for name, spread, unit in rows]
