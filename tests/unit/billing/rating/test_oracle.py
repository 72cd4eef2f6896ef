"""Generated documents through `rate --lines`, held against an independent second rating."""

import io
import json
from typing import Any

import pytest

from billing.management.commands.rate import rate_stream
from tests.unit.billing.rating.generator import documents
from tests.unit.billing.rating.oracle import oracle

TOTALS = (
    "subtotal_minor",
    "discount_minor",
    "adjustment_minor",
    "credit_minor",
    "tax_minor",
    "total_minor",
    "credit_balances_minor",
    "pieces",
)


def _figures(result: dict[str, Any]) -> dict[str, Any]:
    """Reduce a result to what the oracle gives: money per line key, and the totals."""
    money = ("price_key", "amount_minor", "discount_minor", "credit_minor")
    lines = {line["line_key"]: tuple(line[name] for name in money) for line in result["lines"]}
    assert len(lines) == len(result["lines"]), "a line key is given twice"
    return {"lines": lines} | {name: result[name] for name in TOTALS}


def _differences(seed: int, count: int) -> list[str]:
    cases = list(documents(seed, count))
    text = "".join(json.dumps(doc) + "\n" for doc, _ in cases)
    results = list(rate_stream(io.BytesIO(text.encode()), lines=True))
    assert len(results) == count
    found = []
    for (doc, path), result in zip(cases, results, strict=True):
        if path is not None:
            paths = [error["path"] for error in result.get("errors", ())]
            if path not in paths:
                found.append(f"not refused at {path} but {paths}: {json.dumps(doc)}")
        elif "errors" in result:
            found.append(f"refused: {result['errors']}: {json.dumps(doc)}")
        elif _figures(result) != oracle(doc):
            found.append(f"{_figures(result)} != {oracle(doc)}: {json.dumps(doc)}")
    return found


@pytest.mark.timeout(60)
def test_a_thousand_documents() -> None:
    assert _differences(seed=1, count=1_000)[:3] == []


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ten_thousand_documents() -> None:
    assert _differences(seed=2026, count=10_000)[:3] == []
