"""How prices, discounts and usage act on each other over segments: figures worked by hand."""

from typing import Any

import pytest

from billing.rating.rate import rate_document

PERIOD = {"start": "2026-01-01T00:00:00Z", "end": "2026-02-01T00:00:00Z"}
THE_16TH = "2026-01-16T00:00:00Z"
BASE = {"key": "base", "model": "flat", "amount": "31.00"}  # one dollar a day
TIERS = [
    {"up_to": "1000", "unit_amount": "0"},
    {"up_to": "10000", "unit_amount": "0.01"},
    {"up_to": None, "unit_amount": "0.005"},
]
CALLS = {"key": "calls", "model": "graduated", "meter": "m", "tiers": TIERS}
STEPS = [{"up_to": "1000", "flat_amount": "20"}, {"up_to": None, "flat_amount": "75"}]
STEP = {"key": "step", "model": "stairstep", "meter": "m", "tiers": STEPS}
PLUS_FLAT = [{"up_to": "10", "flat_amount": "5"}, {"up_to": None, "flat_amount": "2"}]
FLATS = {"key": "f", "model": "graduated", "meter": "m", "tiers": PLUS_FLAT}


def _used(quantity: str) -> dict[str, Any]:
    return {"m": {"quantity": quantity}}


def _segment(since: str, until: str, *prices: dict[str, Any], **fields: Any) -> dict[str, Any]:
    terms = {"prices": list(prices)} | fields.pop("terms", {})
    return {"from": since, "to": until, "terms": terms, **fields}


def _first(*prices: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return _segment(PERIOD["start"], THE_16TH, *prices, **fields)


def _second(*prices: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return _segment(THE_16TH, PERIOD["end"], *prices, **fields)


def _rate(*segments: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return rate_document(
        {"currency": "USD", "period": PERIOD, "segments": list(segments), **fields}
    )


def _amounts(result: dict[str, Any]) -> dict[str, int]:
    return {line["line_key"]: line["amount_minor"] for line in result["lines"]}


DEARER = BASE | {"amount": "62.00"}
LATER = f"@{THE_16TH}"

ROWS: list[tuple[str, list[dict[str, Any]], dict[str, Any], dict[str, int]]] = [
    ("equal prices are one line", [_first(BASE), _second(BASE | {"amount": "31"})], {},
     {"base": 3100}),
    ("upgrade in advance", [_first(BASE), _second(DEARER)], {},
     {"base": 3100, "base:unused": -1600, f"base{LATER}": 3200}),
    ("upgrade in arrears",
     [_first(BASE | {"timing": "in_arrears"}), _second(DEARER | {"timing": "in_arrears"})], {},
     {"base": 1500, f"base{LATER}": 3200}),
    ("none charges the whole amount and credits nothing",
     [_first(BASE | {"proration": "none"}), _second(DEARER | {"proration": "none"})], {},
     {"base": 3100, f"base{LATER}": 6200}),
    ("none in arrears only if it holds to the end",
     [_first(BASE | {"proration": "none", "timing": "in_arrears"}),
      _second(DEARER | {"proration": "none", "timing": "in_arrears"})], {},
     {"base": 0, f"base{LATER}": 6200}),
    ("cancelled: the rest is credited", [_first(BASE)], {}, {"base": 3100, "base:unused": -1600}),
    ("a gap is time without a subscription",
     [_segment(PERIOD["start"], "2026-01-11T00:00:00Z", BASE), _second(BASE)], {},
     {"base": 3100, "base:unused": -2100, f"base{LATER}": 1600}),
    ("a trial puts the start off", [_first(BASE), _second(BASE)],
     {"trial_ends_at": "2026-01-21T00:00:00Z"}, {"base": 1100}),
    ("a stretch within the trial costs nothing", [_first(BASE), _second(DEARER)],
     {"trial_ends_at": THE_16TH}, {"base": 0, f"base{LATER}": 3200}),
    ("usage carries over",
     [_first(CALLS, usage=_used("900")), _second(CALLS | {"included": "0"}, usage=_used("200"))],
     {}, {"calls": 0, f"calls{LATER}": 100}),
    ("equal usage prices are one line",
     [_first(CALLS, usage=_used("900")), _second(CALLS, usage=_used("200"))], {}, {"calls": 100}),
    ("carry_over false starts afresh on a line of its own",
     [_first(CALLS, usage=_used("900")),
      _second(CALLS, usage=_used("200"), carry_over=False)], {},
     {"calls": 0, f"calls{LATER}": 0}),
    ("carry_over false does not stop a flat price",
     [_first(BASE), _second(BASE, carry_over=False)], {}, {"base": 3100}),
    ("a reached tier's flat amount is not charged again",
     [_first(FLATS, usage=_used("11")), _second(FLATS | {"included": "0"}, usage=_used("5"))],
     {}, {"f": 700, f"f{LATER}": 0}),
    ("the first tier's flat amount once, even without usage",
     [_first(FLATS), _second(FLATS | {"included": "0"})], {}, {"f": 500, f"f{LATER}": 0}),
    ("a new key on a used meter goes on from there",
     [_first(FLATS, usage=_used("5")), _second(FLATS | {"key": "g"}, usage=_used("1"))], {},
     {"f": 500, "g": 0}),
    ("a step charges what is missing to it",
     [_first(STEP, usage=_used("500")), _second(STEP | {"included": "0"}, usage=_used("600"))],
     {}, {"step": 2000, f"step{LATER}": 5500}),
    ("a step gives nothing back",
     [_first(STEP, usage=_used("1500")),
      _second(STEP | {"tiers": [{"flat_amount": "30"}]}, usage=_used("1"))], {},
     {"step": 7500, f"step{LATER}": 0}),
    ("free usage of a trial is removed",
     [_first(CALLS, usage=_used("5000")), _second(CALLS, usage=_used("2000"))],
     {"trial_ends_at": THE_16TH, "trial_usage_free": True}, {"calls": 1000}),
    ("maximum of the last segment's terms",
     [_first(BASE), _second(DEARER | {"maximum": "40"})], {},
     {"base": 3100, "base:unused": -1600, f"base{LATER}": 3200, "base:maximum": -700}),
    ("commitment of each stretch",
     [_first(BASE, terms={"minimum_commitment": "62.00"}),
      _second(BASE, terms={"minimum_commitment": {"amount": "31.00"}})], {},
     {"base": 3100, "commitment": 1500}),
    ("an unchanged commitment that is not prorated counts once",
     [_first(BASE, terms={"minimum_commitment": {"amount": "50", "proration": "none"}}),
      _second(BASE, terms={"minimum_commitment": {"amount": "50.0", "proration": "none"}})], {},
     {"base": 3100, "commitment": 1900}),
    ("no commitment, no floor: a correction stays negative",
     [_first({"key": "u", "model": "per_unit", "meter": "m", "unit_amount": "1"},
             usage=_used("-3"))], {}, {"u": -300}),
]  # fmt: skip


@pytest.mark.parametrize(("segments", "fields", "expected"), [r[1:] for r in ROWS],
                         ids=[r[0] for r in ROWS])  # fmt: skip
def test_lines(
    segments: list[dict[str, Any]], fields: dict[str, Any], expected: dict[str, int]
) -> None:
    assert _amounts(_rate(*segments, **fields)) == expected


def test_lines_say_their_stretch() -> None:
    lines = {
        x["line_key"]: (x["from"], x["to"]) for x in _rate(_first(BASE), _second(DEARER))["lines"]
    }
    assert lines == {
        "base": (PERIOD["start"], PERIOD["end"]),
        "base:unused": (THE_16TH, PERIOD["end"]),
        f"base{LATER}": (THE_16TH, PERIOD["end"]),
    }


def test_a_discount_takes_the_unused_time_back_too() -> None:
    half = {"discounts": [{"type": "percent", "value": "50"}]}
    result = _rate(_first(BASE, terms=half), _second(DEARER))
    assert [line["discount_minor"] for line in result["lines"]] == [1550, -800, 0]


def test_an_equal_discount_is_one_over_both() -> None:
    five = {"discounts": [{"type": "fixed", "value": "5"}]}
    assert _rate(_first(BASE, terms=five), _second(DEARER, terms=five))["discount_minor"] == 500
    gap = _segment("2026-01-17T00:00:00Z", PERIOD["end"], DEARER, terms=five)
    assert _rate(_first(BASE, terms=five), gap)["discount_minor"] == 1000


def test_credits_by_priority_then_expiry_then_age() -> None:
    credits = [
        {"amount": "10", "priority": 2},
        {"amount": "10", "priority": 1, "expires_at": "2027-01-01T00:00:00Z"},
        {"amount": "10", "priority": 1, "expires_at": "2026-02-01T00:00:00Z"},
        {"amount": "10", "priority": 0, "expires_at": "2026-01-31T23:59:59Z"},  # too early
        {"amount": "10", "priority": 1},
    ]
    result = _rate(_first(BASE), _second(BASE, terms={"credits": credits}))
    assert result["credit_balances_minor"] == [900, 0, 0, 1000, 0]
    assert result["credit_minor"] == 3100 - result["total_minor"] == 3100
