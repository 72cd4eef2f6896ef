"""Documents that a parser takes and nothing can keep, or that would never end."""

import json
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from portal.core.plain_values import parsed, plain_problem, yaml_values

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 10)}]\n" for n in range(8)
)


@pytest.mark.parametrize(
    ("case", "text", "said"),
    [
        ("NUL", '"a\\u0000"', "NUL"),
        ("NUL in a key", '{"\\u0000": 1}', "NUL"),
        ("half a pair", '["\\ud800"]', "surrogate"),
        ("half a pair in a key", '{"a": {"\\udfff": 1}}', "surrogate"),
        ("a number without end", "[1e999]", "finite"),
        ("no number", "[NaN]", "finite"),
        ("a deep nest", "[" * 70 + "]" * 70, "deeper"),
        ("a nest beyond the stack", "[" * 100_000, "deeper"),
        ("no JSON", "{", "Expecting"),
    ],
)
def test_json_that_cannot_be_kept(case: str, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parsed(json.loads, text)


@pytest.mark.parametrize(
    ("case", "text", "said"),
    [
        ("NUL", 'a: "\\0"', "NUL"),
        ("aliases that multiply", LAUGHS, "more than"),
        ("an alias of itself", "&a [*a]", "deeper"),
        ("a nest beyond the stack", "[" * 400, "deeper|parsing"),
        ("a tag over another kind", "!!int x", "invalid literal"),
        ("a truth that is none", "!!bool x", "x"),
        ("a time that is none", "!!timestamp x", "timestamp"),
        ("a day that does not exist", "2026-02-30", "day"),
        ("a day as a key", "2026-02-01: x", "quote"),
        ("bytes", "!!binary AAAA", "quote"),
        ("a set", "!!set {a, b}", "quote"),
        ("no number", "[.nan]", "finite"),
        ("a foreign class", "!!python/name:os.system x", "tag"),
    ],
)
def test_yaml_that_cannot_be_kept(case: str, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        yaml_values(text)


@pytest.mark.parametrize("read", [yaml_values, lambda text: parsed(json.loads, text)])
def test_what_can_be_kept_is_read_as_it_is(read: Callable[[str], Any]) -> None:
    text = '{"a": ["b", 1, 1.5, null, true, {"c": "\U0001f600 \u200f"}]}'
    assert read(text) == json.loads(text)


def test_dates_are_plain_only_where_they_are_asked_for() -> None:
    assert yaml_values("a: 2026-02-01") == {"a": date(2026, 2, 1)}
    assert "quote '2026-02-01'" in plain_problem({"a": date(2026, 2, 1)})
