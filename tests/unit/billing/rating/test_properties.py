"""What must hold for every price and every document (`docs/rating.md`)."""

import copy
import itertools
import random
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.rating.document import Usage
from billing.rating.parts import amount_of
from billing.rating.price_models import explain, usage_amount
from billing.rating.rate import decimal_text, rate_document
from portal.core.money import to_minor
from portal.core.plan_terms import Price, Terms, Tier, parse_terms
from tests.unit.billing.rating.generator import METERS, Generator

JANUARY = {"start": "2026-01-01T00:00:00Z", "end": "2026-02-01T00:00:00Z"}
SEEDS = st.integers(0, 10**9)
UNITS = st.decimals(0, 10**18, places=3).map(lambda number: Fraction(number))
AMOUNTS = st.decimals(0, 1000, places=6)


def _document(seed: int) -> dict[str, Any]:
    return Generator(random.Random(seed)).document()


@st.composite
def tiers(draw: st.DrawFn) -> tuple[Tier, ...]:
    tops = sorted(draw(st.sets(st.integers(1, 10**6), max_size=4)))
    ends: list[Decimal | None] = [Decimal(top) for top in tops]
    flat = st.none() | AMOUNTS
    per = st.none() | st.sampled_from([Decimal(10), Decimal("2.5")])
    return tuple(Tier(e, draw(AMOUNTS), draw(per), draw(flat)) for e in [*ends, None])


@given(SEEDS)
def test_lines_sum_to_the_total(seed: int) -> None:
    result = rate_document(_document(seed))
    left = sum(
        line["amount_minor"] - line["discount_minor"] - line["credit_minor"]
        for line in result["lines"]
    )
    assert left + result["tax_minor"] == result["total_minor"]
    assert result["total_minor"] == (
        result["subtotal_minor"]
        - result["discount_minor"]
        + result["adjustment_minor"]
        - result["credit_minor"]
        + result["tax_minor"]
    )


@given(SEEDS)
def test_line_keys_are_unique_and_stable(seed: int) -> None:
    document = _document(seed)
    once, again = rate_document(document), rate_document(copy.deepcopy(document))
    keys = [line["line_key"] for line in once["lines"]]
    assert len(keys) == len(set(keys))
    assert once == again


@given(SEEDS)
def test_credits_never_take_a_document_below_zero(seed: int) -> None:
    document = _document(seed)
    result = rate_document(document)
    terms = document["segments"][-1]["terms"] if "segments" in document else document["terms"]
    granted = [
        to_minor(Decimal(c["amount"]), document["currency"]) for c in terms.get("credits", [])
    ]
    drawn = [a - b for a, b in zip(granted, result["credit_balances_minor"], strict=True)]
    assert all(0 <= taken <= all_of for taken, all_of in zip(drawn, granted, strict=True))
    assert sum(drawn) == result["credit_minor"]
    if result["credit_minor"]:
        before = result["total_minor"] - result["tax_minor"] + result["credit_minor"]
        assert result["credit_minor"] <= max(before, sum(
            max(0, line["amount_minor"] - line["discount_minor"]) for line in result["lines"]
        ))  # fmt: skip


@given(tiers(), UNITS, UNITS)
def test_graduated_is_monotone(rows: tuple[Tier, ...], one: Fraction, other: Fraction) -> None:
    price = Price("c", "graduated", "m", tiers=rows)
    low, high = sorted((one, other))
    assert usage_amount(price, Usage(low)) <= usage_amount(price, Usage(high))


@given(SEEDS, UNITS)
def test_an_explanation_adds_up_to_the_line(seed: int, units: Fraction) -> None:
    generator = Generator(random.Random(seed))
    generator.kinds = dict.fromkeys(METERS, "quantity")
    terms = {"prices": [generator.price("c")]}
    meter = terms["prices"][0].get("meter")
    if meter is None:
        return
    text = decimal_text(units)
    document = {"currency": "KWD", "period": JANUARY, "terms": terms}
    terms["prices"][0] |= {"minimum": None, "maximum": None}
    result = rate_document(document | {"usage": {meter: {"quantity": text}}})
    price = _price(terms)
    parts = explain(price, Usage(units))
    assert to_minor(amount_of(parts), "KWD") == result["total_minor"]


def _price(terms: dict[str, Any]) -> Price:
    parsed = parse_terms(terms)
    assert isinstance(parsed, Terms)
    return parsed.prices[0]


@given(SEEDS, st.lists(st.decimals(-50, 500, places=2), max_size=8), st.randoms())
def test_order_of_events_is_irrelevant_for_sums(
    seed: int, events: list[Decimal], rng: random.Random
) -> None:
    generator = Generator(random.Random(seed))
    model = generator.rng.choice(("dynamic", "graduated_percentage"))
    price = {"key": "c", "model": model, "meter": "m"} | generator.of_model(model)
    shuffled = rng.sample(events, len(events))
    totals = [
        rate_document({
            "currency": "USD", "period": JANUARY, "terms": {"prices": [price]},
            "usage": {"m": {"events": [str(value) for value in values]}},
        })["total_minor"]
        for values in (events, shuffled)
    ]  # fmt: skip
    assert totals[0] == totals[1]


@given(SEEDS)
def test_pieces_sum_to_the_whole(seed: int) -> None:
    generator = Generator(random.Random(seed))
    generator.kinds = dict.fromkeys(METERS, "quantity")
    terms = generator.terms(["a", "b"])
    usage = generator.pieces()
    pieced = rate_document({"currency": "USD", "period": JANUARY, "terms": terms, "usage": usage})
    whole = {meter: {"quantity": row["cumulative"][-1]} for meter, row in usage.items()}
    at_once = rate_document({"currency": "USD", "period": JANUARY, "terms": terms, "usage": whole})
    assert pieced["total_minor"] == at_once["total_minor"]
    assert pieced["lines"] == at_once["lines"]
    if usage:
        assert sum(p["total_minor"] for p in pieced["pieces"]) == pieced["total_minor"]


@given(SEEDS, st.lists(st.integers(1, 743), unique=True, max_size=4))
def test_a_plan_that_does_not_change_may_be_cut_anywhere(seed: int, hours: list[int]) -> None:
    """Equal adjoining terms are one price: cutting the period changes no line."""
    generator = Generator(random.Random(seed))
    generator.kinds = dict.fromkeys(METERS, "quantity")
    terms, usage = generator.terms(["a", "b", "c"]), generator.usage()
    generator.extras(terms, [price["key"] for price in terms["prices"]])
    whole = rate_document({"currency": "USD", "period": JANUARY, "terms": terms, "usage": usage})
    cuts = [JANUARY["start"], *map(_hour, sorted(hours)), JANUARY["end"]]
    segments = [
        {"from": since, "to": until, "terms": terms, "usage": usage if number == 0 else {}}
        for number, (since, until) in enumerate(itertools.pairwise(cuts))
    ]
    cut = rate_document({"currency": "USD", "period": JANUARY, "segments": segments})
    assert cut == whole


def _hour(number: int) -> str:
    return f"2026-01-{1 + number // 24:02d}T{number % 24:02d}:00:00Z"


@pytest.mark.parametrize(
    ("case", "quantity", "unit_amount", "total_minor"),
    [
        ("the largest of both", "1000000000000000000", "0.000000000001", 100_000_000),
        ("60 digits of product", "999999999999999999.999999999999", "999999.999999999999",
         99_999_999_999_999_999_900_000_000),
        ("a correction", "-0.5", "0.01", -1),
    ],
)  # fmt: skip
def test_no_digit_is_lost(case: str, quantity: str, unit_amount: str, total_minor: int) -> None:
    price = {"key": "c", "model": "per_unit", "meter": "m", "unit_amount": unit_amount}
    result = rate_document({
        "currency": "USD", "period": JANUARY, "terms": {"prices": [price]},
        "usage": {"m": {"quantity": quantity}},
    })  # fmt: skip
    assert result["total_minor"] == total_minor
    assert Decimal(result["lines"][0]["quantity"]) == Decimal(quantity)
