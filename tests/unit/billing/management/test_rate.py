"""`manage.py rate`: exact numbers in YAML and JSON, one result a line, its exit codes."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

YAML = """
# numbers without quotes keep every digit
currency: USD
period: {start: 2026-01-01T00:00:00Z, end: 2026-02-01T00:00:00Z}
terms:
  prices:
    - {key: base, model: flat, amount: 49.00}
    - {key: calls, meter: requests, model: per_unit, unit_amount: 0.000000000001}
usage:
  requests: {quantity: 999999999999999999.123456789012}
"""
GOOD = {
    "currency": "USD",
    "period": {"start": "2026-01-01T00:00:00Z", "end": "2026-02-01T00:00:00Z"},
    "terms": {"prices": [{"key": "base", "model": "flat", "amount": "49"}]},
}


def _run(file: str, *flags: str) -> tuple[int, list[dict[str, Any]]]:
    out = io.StringIO()
    code = 0
    try:
        call_command("rate", file, *flags, stdout=out)
    except SystemExit as end:
        code = int(end.code or 0)
    return code, [json.loads(line) for line in out.getvalue().splitlines()]


def test_yaml_keeps_every_digit(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(YAML)
    code, [result] = _run(str(tmp_path / "plan.yaml"))
    assert code == 0
    assert [line["amount_minor"] for line in result["lines"]] == [4900, 100_000_000]
    assert result["lines"][1]["quantity"] == "999999999999999999.123456789012"


def test_json_numbers_keep_every_digit(tmp_path: Path) -> None:
    text = json.dumps(GOOD).replace('"49"', "49.004999999999")
    (tmp_path / "plan.json").write_text(text)
    code, [result] = _run(str(tmp_path / "plan.json"))
    assert (code, result["total_minor"]) == (0, 4900)
    assert result["lines"][0]["unit_amount"] == "49.004999999999"


def test_lines_in_the_same_order_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    twice = json.dumps(GOOD)[:-1] + ', "currency": "EUR"}'
    lines = [json.dumps(GOOD), "{not json", json.dumps(GOOD | {"currency": "KWD"}), twice, "[1]"]
    stdin = io.TextIOWrapper(io.BytesIO("\n".join(lines).encode() + b"\n\xff\n"))
    monkeypatch.setattr(sys, "stdin", stdin)
    code, results = _run("-", "--lines")
    assert code == 2
    assert [r.get("total_minor") for r in results] == [4900, None, 49000, None, None, None]
    assert [r["errors"][0]["code"] for r in results if "errors" in r] == [
        "not_readable", "not_readable", "not_an_object", "not_readable",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("number", "code"),
    [
        ("1e99999999999999999999", "not_a_decimal"),
        ("1e-99999999999999999999", "not_a_decimal"),
        ("9" * 5_000, "too_large"),
    ],
)
def test_a_number_beyond_all_bounds_is_refused_at_its_field(
    number: str, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the line after it is rated."""
    good = json.dumps(GOOD)
    broken = good.replace('"49"', number)
    assert broken != good
    stdin = io.TextIOWrapper(io.BytesIO(f"{broken}\n{good}\n".encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    exit_code, [refused, rated] = _run("-", "--lines")
    assert (exit_code, rated["total_minor"]) == (2, 4900)
    [error] = refused["errors"]
    assert (error["path"], error["code"]) == ("terms.prices[0].amount", code)


@pytest.mark.parametrize(
    ("case", "text"),
    [
        ("a naive time", YAML.replace("01T00:00:00Z, end", "01T00:00:00, end")),
        ("a date", YAML.replace("2026-01-01T00:00:00Z", "2026-01-01")),
        ("a field twice", YAML + "currency: EUR\n"),
        ("a tag", YAML.replace("USD", "!!python/name:os.system")),
        ("not a number", YAML.replace("49.00", ".nan")),
        ("infinite", YAML.replace("49.00", ".inf")),
        ("another document", YAML + "---\n" + YAML),
        ("nothing", ""),
        ("control characters", "\x00\x01"),
        ("deeply nested", "[" * 5_000),
        ("a tag that does not fit", YAML.replace("49.00", "!!bool dear")),
        ("a number that is empty", YAML.replace("49.00", '!!int ""')),
    ],
)
def test_refused_files(case: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text(text)
    code, [result] = _run(str(tmp_path / "file"))
    assert code == 2
    assert set(result["errors"][0]) == {"path", "code", "message"}


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert _run(str(tmp_path / "nothing.yaml")) == (2, [])
