"""The money lint finds what it is for, and the money code passes it."""

from pathlib import Path

import pytest

from tests.lint.money_lint import violations

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "source",
    ["x = 1.5", "float(x)", "round(x)", "a / b", "a /= b", "d.total_seconds()"],
)
def test_finds(source: str) -> None:
    assert list(violations(source))


@pytest.mark.parametrize("source", ["a // b", "x = 1", "y = a / b  # money-ok: a path"])
def test_lets_pass(source: str) -> None:
    assert not list(violations(source))


def test_money_code_is_clean() -> None:
    files = [*ROOT.glob("portal/core/*.py"), *ROOT.glob("billing/**/*.py")]
    found = [f"{p}:{n}: {w}" for p in files for n, w in violations(p.read_text())]
    assert files
    assert not found
