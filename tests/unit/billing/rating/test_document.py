"""The rating document: refused as a whole, every problem at once, and never by an exception."""

import copy
import random
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.errors import RatingRefusedError
from billing.rating.document import Request, parse_request
from billing.rating.rate import answer_document, rate_document
from tests.unit.billing.rating.generator import Generator

PRICE = {"key": "c", "model": "per_unit", "meter": "m", "unit_amount": "1"}
VALID: dict[str, Any] = {
    "currency": "USD",
    "period": {"start": "2026-01-01T00:00:00Z", "end": "2026-02-01T00:00:00Z"},
    "terms": {"prices": [PRICE]},
    "usage": {"m": {"quantity": "5"}},
}
PERCENT = {"key": "p", "model": "percentage", "meter": "m", "rate": "1"}


def _segment(since: int, until: int, **fields: Any) -> dict[str, Any]:
    row = {"from": f"2026-01-{since:02}T00:00:00Z", "to": f"2026-01-{until:02}T00:00:00Z"}
    return row | {"terms": {"prices": [PRICE]}} | fields


def _segments(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"terms": None, "usage": None, "segments": list(rows)}


def _problems(changes: dict[str, Any]) -> set[tuple[str, str]]:
    parsed = parse_request(copy.deepcopy(VALID) | changes)
    assert not isinstance(parsed, Request)
    return {(problem.path, problem.code) for problem in parsed}


ROWS: list[tuple[str, dict[str, Any], set[tuple[str, str]]]] = [
    ("unknown field", {"colour": "red"}, {("colour", "unknown_field")}),
    ("unknown currency", {"currency": "XXX"}, {("currency", "not_a_choice")}),
    ("no period", {"period": None}, {("period", "required")}),
    ("period is a list", {"period": []}, {("period", "not_an_object")}),
    ("naive start", {"period": {"start": "2026-01-01T00:00:00", "end": "2026-02-01T00:00:00Z"}},
     {("period.start", "naive_time")}),
    ("no such day", {"period": {"start": "2026-02-30T00:00:00Z", "end": "2026-03-01T00:00:00Z"}},
     {("period.start", "not_a_time")}),
    ("period runs backwards", {"period": {"start": "2026-02-01T00:00:00Z",
                                          "end": "2026-01-01T00:00:00Z"}},
     {("period.end", "ends_before_start")}),
    ("no terms", {"terms": None}, {("terms", "required")}),
    ("terms are a list", {"terms": []}, {("terms", "not_an_object")}),
    ("unknown zone", {"time_zone": "Mars/Olympus"}, {("time_zone", "unknown_time_zone")}),
    ("a path for a zone", {"time_zone": "../../etc/passwd"}, {("time_zone", "unknown_time_zone")}),
    ("both forms", {"segments": [_segment(1, 2)]},
     {("terms", "terms_twice"), ("usage", "terms_twice")}),
    ("overlap", _segments(_segment(1, 16), _segment(15, 20)),
     {("segments[1].from", "segment_overlap")}),
    ("out of order", _segments(_segment(16, 20), _segment(1, 16)),
     {("segments[1].from", "segment_overlap")}),
    ("outside", _segments(_segment(1, 16), {**_segment(16, 20), "to": "2026-03-01T00:00:00Z"}),
     {("segments[1].to", "outside_period")}),
    ("empty segment", _segments(_segment(5, 5)), {("segments[0].to", "ends_before_start")}),
    ("segment without terms", _segments(_segment(1, 2, terms=None)),
     {("segments[0].terms", "required")}),
    ("pieces in a segment", _segments(_segment(1, 2, usage={"m": {"cumulative": ["1"]}})),
     {("segments[0].usage.m.cumulative", "usage_kind")}),
    ("two kinds of usage", {"usage": {"m": {"quantity": "1", "events": []}}},
     {("usage.m", "usage_kind")}),
    ("events for a quantity", {"usage": {"m": {"events": ["1"]}}},
     {("usage.m.events", "usage_kind")}),
    ("a quantity for events", {"terms": {"prices": [PERCENT]}},
     {("usage.m.quantity", "usage_kind")}),
    ("a later price cannot read what carries over",
     _segments(_segment(1, 2, terms={"prices": [PERCENT]}, usage={"m": {"events": ["1"]}}),
               _segment(2, 3)),
     {("segments[0].usage.m.events", "usage_kind")}),
    ("a meter of two kinds",
     _segments(_segment(1, 2, terms={"prices": []}, usage={"n": {"events": ["1"]}}),
               _segment(2, 3, usage={"n": {"quantity": "1"}})),
     {("segments[1].usage.n.quantity", "usage_kind")}),
    ("unequal pieces", {"usage": {"m": {"cumulative": ["1"]}, "n": {"cumulative": ["1", "2"]}}},
     {("usage.m.cumulative", "pieces_length")}),
    ("pieces of one meter alone", {"usage": {"m": {"cumulative": ["1"]}, "n": {"quantity": "1"}}},
     {("usage.n", "pieces_length")}),
    ("no pieces", {"usage": {"m": {"cumulative": []}}}, {("usage.m.cumulative", "pieces_length")}),
    ("a wrong event", {"usage": {"m": {"quantity": "abc"}}},
     {("usage.m.quantity", "not_a_decimal")}),
    ("far too large", {"usage": {"m": {"quantity": Decimal("1e999999999")}}},
     {("usage.m.quantity", "too_large")}),
    ("a wrong flag", {"trial_usage_free": "yes"}, {("trial_usage_free", "not_a_boolean")}),
    ("several at once", {"currency": None, "time_zone": 5, "trial_ends_at": "soon"},
     {("currency", "required"), ("time_zone", "unknown_time_zone"),
      ("trial_ends_at", "not_a_time")}),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "expected"), [r[1:] for r in ROWS], ids=[r[0] for r in ROWS])
def test_refused(changes: dict[str, Any], expected: set[tuple[str, str]]) -> None:
    assert _problems(changes) == expected


def test_absent_meters_count_as_zero_and_unpriced_ones_are_ignored() -> None:
    assert rate_document(VALID | {"usage": None})["total_minor"] == 0
    assert rate_document(VALID | {"usage": {"other": {"events": ["9"]}}})["total_minor"] == 0


def test_a_period_of_no_length_is_worth_nothing() -> None:
    moment = {"start": "2026-01-01T00:00:00Z", "end": "2026-01-01T00:00:00Z"}
    prices = [
        {"key": h, "model": "flat", "amount": "9", "proration": h} for h in ("second", "none")
    ]
    assert (
        rate_document(VALID | {"period": moment, "terms": {"prices": prices}})["total_minor"] == 0
    )


def test_a_refusal_is_an_answer_or_an_exception() -> None:
    wrong = VALID | {"currency": "XXX"}
    with pytest.raises(RatingRefusedError) as caught:
        rate_document(wrong)
    errors = [problem._asdict() for problem in caught.value.problems]
    assert answer_document(wrong) == {"errors": errors}
    assert set(errors[0]) == {"path", "code", "message"}


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.decimals() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.integers(0, 10**9), st.lists(JUNK, min_size=1, max_size=3))
def test_a_document_with_junk_in_it_never_raises(seed: int, junk: list[Any]) -> None:
    rng = random.Random(seed)
    document = Generator(rng).document()
    for value in junk:
        _replace_somewhere(rng, document, value)
    answer = answer_document(document)
    assert "errors" not in answer or all(error["message"] for error in answer["errors"])


def _replace_somewhere(rng: random.Random, node: Any, value: object) -> None:
    """Put a value in place of a random part of a document."""
    while True:
        choices = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not choices:
            return
        at = rng.choice(choices)
        inner = node[at]
        if not isinstance(inner, dict | list) or not inner or rng.random() < 0.2:
            node[at] = value
            return
        node = inner


@given(JUNK)
def test_junk_never_raises(value: object) -> None:
    answer = answer_document(value)
    assert answer["errors"]
