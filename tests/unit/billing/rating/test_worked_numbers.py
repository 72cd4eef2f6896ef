"""Every row of the table in `docs/rating.md` is what the engine gives."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from billing.rating.rate import rate_document
from tests.unit.billing.rating.oracle import oracle

DOC = Path(__file__).parents[4] / "docs" / "rating.md"
JANUARY = {"start": "2026-01-01T00:00:00Z", "end": "2026-02-01T00:00:00Z"}


def _rows() -> list[tuple[str, dict[str, Any], list[int], int]]:
    table = DOC.read_text().split("## Worked numbers")[1]
    found = []
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if len(cells) == 5 and cells[0].strip().isdigit():
            document = {"currency": "USD", "period": JANUARY, **json.loads(cells[2].strip("`"))}
            lines = [int(amount) for amount in cells[3].split(",")]
            found.append((f"{cells[0]} {cells[1]}", document, lines, int(cells[4].strip(" |"))))
    return found


ROWS = _rows()


def test_the_table_is_there() -> None:
    assert len(ROWS) >= 30
    assert {name.split()[0] for name, *_ in ROWS} == {str(n) for n in range(1, 19)}


@pytest.mark.parametrize(("document", "lines", "total"), [r[1:] for r in ROWS],
                         ids=[r[0] for r in ROWS])  # fmt: skip
def test_row(document: dict[str, Any], lines: list[int], total: int) -> None:
    result = rate_document(document)
    assert [line["amount_minor"] for line in result["lines"]] == lines
    assert result["total_minor"] == total


@pytest.mark.parametrize("document", [r[1] for r in ROWS], ids=[r[0] for r in ROWS])
def test_the_oracle_agrees(document: dict[str, Any]) -> None:
    result, second = rate_document(document), oracle(document)
    assert {x["line_key"]: x["amount_minor"] for x in result["lines"]} == {
        key: amount for key, (_, amount, _, _) in second["lines"].items()
    }
    assert result["total_minor"] == second["total_minor"]


def test_every_refusal_is_explained() -> None:
    """Each code in the source is in the guide's table, and none besides."""
    sources = ["portal/core/checked_input.py", "portal/core/plan_terms.py"]
    sources += ["billing/rating/document.py", "billing/management/commands/rate.py"]
    root = DOC.parents[1]
    raised = {
        word
        for path in sources
        for word in re.findall(
            r"""(?:Refusal\(|Problem\([^"]*?|refuse\([^,]*,|"code":)\s*"([a-z_]{6,})",""",
            (root / path).read_text(),
        )
    }
    refusals = DOC.read_text().split("## Refusals")[1].split("## Choices")[0]
    rows = [line.split("|")[1] for line in refusals.splitlines() if line.startswith("| `")]
    assert raised == {word for row in rows for word in re.findall(r"`(\w+)`", row)}


def test_pieces_add_up() -> None:
    document = next(row[1] for row in ROWS if row[0].startswith("15"))
    assert rate_document(document)["pieces"] == [{"total_minor": 33}, {"total_minor": 34}]


def test_shares_of_a_split_discount() -> None:
    document = next(row[1] for row in ROWS if row[0].startswith("18"))
    assert [line["discount_minor"] for line in rate_document(document)["lines"]] == [2, 2, 1]
