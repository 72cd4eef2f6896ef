"""Plan terms: strict in, every problem at once, and the same back."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portal.core.plan_terms import (
    FLAT,
    MODEL_FIELDS,
    TIER_FIELDS,
    Terms,
    parse_terms,
    terms_to_json,
)
from tests.unit.billing.rating.generator import Generator


def _parsed(value: object) -> Terms:
    terms = parse_terms(value)
    assert isinstance(terms, Terms), terms
    return terms


def _codes(value: object) -> list[tuple[str, str]]:
    problems = parse_terms(value, currency="USD")
    assert not isinstance(problems, Terms)
    return [(problem.path.removeprefix("terms."), problem.code) for problem in problems]


def _per_unit(**fields: Any) -> dict[str, Any]:
    row = {"key": "c", "model": "per_unit", "meter": "m", "unit_amount": "1", **fields}
    return {"prices": [row]}


def test_every_problem_at_once() -> None:
    terms = {
        "prices": [
            {"key": "a b", "model": "flat", "amount": "-1", "tiers": []},
            {"key": "c", "model": "per_unit", "meter": "m", "unit_amount": "1e3"},
            {"key": "c", "model": "no_such"},
        ],
        "discounts": [{"type": "percent", "value": "101"}],
        "tax": [{"rate": "20", "applies_to": ["nothing"]}],
        "note": "x",
    }
    assert set(_codes(terms)) == {
        ("note", "unknown_field"),
        ("prices[0].key", "not_a_text"),
        ("prices[0].amount", "negative"),
        ("prices[0].tiers", "field_of_another_model"),
        ("prices[1].unit_amount", "not_a_decimal"),
        ("prices[2].key", "duplicate_key"),
        ("prices[2].model", "not_a_choice"),
        ("discounts[0].value", "too_large"),
        ("tax[0].applies_to", "unknown_price"),
    }


@pytest.mark.parametrize(
    ("case", "terms", "path", "code"),
    [
        ("a float", _per_unit(unit_amount=0.5), "prices[0].unit_amount", "inexact_number"),
        ("a boolean", _per_unit(unit_amount=True), "prices[0].unit_amount", "not_a_decimal"),
        ("13 places", _per_unit(unit_amount="0." + "1" * 13), "prices[0].unit_amount",
         "too_many_places"),
        ("beyond 10^18", _per_unit(included=10**18 + 1), "prices[0].included", "too_large"),
        ("minimum above maximum", _per_unit(minimum="2", maximum="1"), "prices[0].minimum",
         "above_maximum"),
        ("the commitment's key", {"prices": [{"key": "commitment", "model": "flat", "amount": 1}]},
         "prices[0].key", "reserved_key"),
        ("no meter", {"prices": [{"key": "c", "model": "dynamic"}]}, "prices[0].meter",
         "required"),
        ("no tiers", {"prices": [{"key": "c", "model": "volume", "meter": "m", "tiers": []}]},
         "prices[0].tiers", "required"),
        ("another currency", _per_unit(currency="EUR"), "prices[0].currency", "mixed_currency"),
        ("precision alone", _per_unit(transform={"op": "divide", "factor": "2", "precision": 1}),
         "prices[0].transform.round", "required"),
        ("an empty block", {"prices": [{"key": "c", "model": "volume", "meter": "m",
                                        "tiers": [{"per": "0"}]}]},
         "prices[0].tiers[0].per", "not_positive"),
        ("a naive expiry", {"credits": [{"amount": "1", "expires_at": "2026-01-01T00:00:00"}]},
         "credits[0].expires_at", "naive_time"),
    ],
)  # fmt: skip
def test_refused(case: str, terms: dict[str, Any], path: str, code: str) -> None:
    assert _codes(terms) == [(path, code)]


@given(st.integers(0, 10**6))
def test_parse_serialize_round_trip(seed: int) -> None:
    generator = Generator(random.Random(seed))
    generator.kinds = {
        "requests": "quantity",
        "tokens": "events",
        "sales": "events",
        "payouts": "quantity",
    }
    value = generator.terms(["p0", "p1", "p2"])
    generator.extras(value, [price["key"] for price in value["prices"]])
    terms = _parsed(value)
    again = _parsed(terms_to_json(terms))
    assert again == terms
    assert [(p.minimum, p.maximum, p.description) for p in again.prices] == [
        (p.minimum, p.maximum, p.description) for p in terms.prices
    ]


def test_equal_means_by_value_with_defaults_and_without_bounds() -> None:
    plain = {"key": "b", "model": "flat", "amount": "49"}
    spelled = {
        **plain,
        "amount": "49.00",
        "timing": "in_advance",
        "proration": "second",
        "minimum": "5",
        "description": "Base fee",
    }
    one, other = _parsed({"prices": [plain]}), _parsed({"prices": [spelled]})
    assert one.prices == other.prices
    later = _parsed({"prices": [{**plain, "timing": "in_arrears"}]})
    assert later.prices != one.prices


def test_absent_is_not_zero() -> None:
    with_zero = _parsed(_per_unit(included="0"))
    assert with_zero.prices != _parsed(_per_unit()).prices


def test_every_model_says_which_fields_it_has() -> None:
    for model, known in MODEL_FIELDS.items():
        assert ("meter" in known) is (model != FLAT)
    assert not MODEL_FIELDS["percentage"] & {"transform", "included"}


NAMES = sorted(frozenset().union(*MODEL_FIELDS.values(), *TIER_FIELDS.values()))
NAMES += ["prices", "minimum_commitment", "discounts", "credits", "tax", "applies_to", "type"]
NAMES += ["value", "priority", "expires_at", "op", "factor", "round", "precision"]
JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.decimals()
    | st.text()
    | st.sampled_from(["flat", "graduated", "percentage", "m", "1", "-1", "percent", "divide"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(NAMES) | st.text(max_size=3),
            inner,
            max_size=6,
        )
    ),
    max_leaves=25,
)


@settings(max_examples=50)
@given(JUNK | st.fixed_dictionaries({"prices": st.lists(JUNK), "credits": st.lists(JUNK)}))
def test_junk_never_raises(value: object) -> None:
    parsed = parse_terms(value)
    assert isinstance(parsed, Terms) or (parsed and all(p.code and p.message for p in parsed))
