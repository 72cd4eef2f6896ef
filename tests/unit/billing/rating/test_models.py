"""Each price model at its edges, in currencies of no, two and three places."""

import doctest
import importlib
import pkgutil
from typing import Any

import pytest

import billing.rating
from billing.rating.rate import rate_document

JANUARY = {"start": "2026-01-01T00:00:00Z", "end": "2026-02-01T00:00:00Z"}
TWO_TIERS = [{"up_to": "10", "unit_amount": "2"}, {"up_to": "20", "unit_amount": "1"}]
FREE = {"model": "percentage", "rate": "10", "fixed_per_event": "1"}
STEPS = [{"up_to": "0", "flat_amount": "0"}, {"up_to": "5.5", "flat_amount": "3"}]
WITH_FLAT = [{"up_to": "10", "unit_amount": "1", "flat_amount": "4"}, {"unit_amount": "1"}]


def _thousands(how: str | None, **more: int) -> dict[str, Any]:
    rule = {"op": "divide", "factor": "1000", "round": how, **more}
    return {"model": "per_unit", "unit_amount": "1", "transform": rule}


# case, terms of the price, usage, currency, expected minor units
Row = tuple[str, dict[str, Any], str | list[str], str, int]
ROWS: list[Row] = [
    ("yen, half", {"model": "per_unit", "unit_amount": "3.5"}, "3", "JPY", 11),
    ("dinar, half", {"model": "per_unit", "unit_amount": "0.0005"}, "3", "KWD", 2),
    ("negative half", {"model": "per_unit", "unit_amount": "0.005"}, "-1", "USD", -1),
    ("negative knows no included", {"model": "per_unit", "unit_amount": "1", "included": "5"},
     "-2", "USD", -200),
    ("last tier goes on", {"model": "graduated", "tiers": TWO_TIERS}, "30", "USD", 4000),
    ("negative is zero", {"model": "graduated", "tiers": TWO_TIERS}, "-30", "USD", 0),
    ("fractional bound", {"model": "stairstep", "tiers": STEPS}, "5.5", "JPY", 3),
    ("a free step at zero", {"model": "stairstep", "tiers": STEPS}, "0", "JPY", 0),
    ("last step goes on", {"model": "stairstep", "tiers": STEPS}, "99", "KWD", 3000),
    ("volume keeps one flat", {"model": "volume", "tiers": WITH_FLAT}, "10", "USD", 1400),
    ("volume loses it above", {"model": "volume", "tiers": WITH_FLAT}, "11", "USD", 1100),
    ("no flat at zero", {"model": "volume", "tiers": WITH_FLAT,
                         "zero_usage_first_tier_flat": False}, "0", "USD", 0),
    ("flat at a little", {"model": "graduated", "tiers": WITH_FLAT,
                          "zero_usage_first_tier_flat": False}, "0.001", "JPY", 4),
    ("volume in blocks", {"model": "volume", "tiers": [{"unit_amount": "2", "per": "3"}]},
     "7", "JPY", 6),
    ("package of nothing", {"model": "package", "package_size": "3", "package_amount": "2"},
     "0", "JPY", 0),
    ("any fraction opens one", {"model": "package", "package_size": "3", "package_amount": "2"},
     "3.000000000001", "JPY", 4),
    ("transform up", _thousands("up"), "1001", "USD", 200),
    ("transform down", _thousands("down"), "1999", "USD", 100),
    ("transform half up", _thousands("half_up"), "1500", "USD", 200),
    ("transform at one place", _thousands("up", precision=1), "1001", "USD", 110),
    ("transform exactly", _thousands(None), "1005", "USD", 101),
    ("a correction takes back what it added", _thousands("up"), "-1001", "USD", -200),
    ("transform before included", _thousands("up") | {"included": "2"}, "2001", "USD", 100),
    ("free count", FREE | {"free_events": "1"}, ["10", "10"], "USD", 200),
    ("free amount, excess pays", FREE | {"free_amount": "15"}, ["10", "10"], "USD", 150),
    ("free amount reached exactly", FREE | {"free_amount": "20"}, ["10", "10"], "USD", 100),
    ("either ends both", FREE | {"free_amount": "5", "free_events": "9"}, ["6", "1"], "USD", 220),
    ("nothing free at zero", FREE | {"free_amount": "0", "free_events": "9"}, ["10"], "USD", 200),
    ("a negative event uses up nothing", FREE | {"free_events": "1"}, ["-10", "10"], "USD", -100),
    ("at least", FREE | {"min_per_event": "5"}, ["10"], "USD", 500),
    ("at most", FREE | {"max_per_event": "1.5"}, ["10"], "USD", 150),
    ("a negative event knows no bounds", FREE | {"min_per_event": "5"}, ["-10"], "USD", -100),
    ("rounded once, not per event", {"model": "dynamic"}, ["0.004", "0.004"], "USD", 1),
    ("multiplier", {"model": "dynamic", "multiplier": "1.2"}, "10", "JPY", 12),
    ("dynamic keeps the sign", {"model": "dynamic"}, ["1", "-3"], "USD", -200),
    ("share of a value", {"model": "graduated_percentage", "tiers": [
        {"up_to": "100", "rate": "10", "flat_amount": "1"}, {"rate": "5", "flat_amount": "2"}]},
     ["100", "100"], "USD", 1800),
]  # fmt: skip


@pytest.mark.parametrize(("price", "usage", "currency", "expected"), [r[1:] for r in ROWS],
                         ids=[r[0] for r in ROWS])  # fmt: skip
def test_amount(
    price: dict[str, Any], usage: str | list[str], currency: str, expected: int
) -> None:
    kind = "quantity" if isinstance(usage, str) else "events"
    result = rate_document(
        {
            "currency": currency,
            "period": JANUARY,
            "terms": {"prices": [{"key": "c", "meter": "m", **price}]},
            "usage": {"m": {kind: usage}},
        }
    )
    assert result["total_minor"] == expected


def test_every_model_is_covered() -> None:
    models = {row[1]["model"] for row in ROWS}
    assert len(models) == 8, "every model but flat, which test_segments has"


MODULES = [m.name for m in pkgutil.iter_modules(billing.rating.__path__, "billing.rating.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize(
    ("case", "zone", "start", "change", "end", "unused", "days"),
    [
        ("UTC, noon", "UTC", "2026-01-01T00", "2026-01-16T12", "2026-02-01T00", 16, 31),
        ("a short day in Berlin", "Europe/Berlin", "2026-02-28T23", "2026-03-28T23",
         "2026-03-31T22", 3, 31),
        ("a long day in New York", "America/New_York", "2025-11-01T04", "2025-11-02T04",
         "2025-12-01T05", 29, 30),
        ("the zone's day, not UTC's", "Asia/Kolkata", "2025-12-31T18:30", "2026-01-15T18:29",
         "2026-01-31T18:30", 17, 31),
    ],
)  # fmt: skip
def test_proration_by_whole_days(
    case: str, zone: str, start: str, change: str, end: str, unused: int, days: int
) -> None:
    def at(text: str) -> str:
        return f"{text}:00:00Z" if ":" not in text else f"{text}:00Z"

    price = {"key": "base", "model": "flat", "amount": str(days), "proration": "day"}
    result = rate_document({
        "currency": "USD", "time_zone": zone, "period": {"start": at(start), "end": at(end)},
        "segments": [{"from": at(start), "to": at(change), "terms": {"prices": [price]}}],
    })  # fmt: skip
    assert [line["amount_minor"] for line in result["lines"]] == [days * 100, -unused * 100]
