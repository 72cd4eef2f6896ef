"""Limits of a plan version: what is read, and every problem with its path."""

from decimal import Decimal
from typing import Any

import pytest

from portal.core.plan_limits import Limits, limits_to_json, parse_limits
from portal.core.plan_terms import Price, Terms

FULL: dict[str, Any] = {
    "quotas": [
        {
            "meter": "requests",
            "quota": 50_000,
            "window": "billing_period",
            "alerts_at": [80, 95],
            "soft_limit_percent": 100,
            "buffer_percent": 115,
            "block_at_percent": 120,
        },
        {
            "meter": "requests",
            "quota": 5_000,
            "window": "day",
            "alerts_at": [],
            "soft_limit_percent": 100,
            "buffer_percent": 100,
            "block_at_percent": 0,
        },
    ],
    "rate_limits": [{"name": "burst", "rate": 10, "per_s": 1, "burst": 20, "key": "credential"}],
    "count_policy": {"4xx": "billed"},
    "routes": ["rte_1"],
    "fail_open": True,
}


def codes(limits: object, terms: Terms | None = None) -> list[tuple[str, str]]:
    found = parse_limits(limits, terms=terms)
    assert not isinstance(found, Limits)
    return [(problem.path, problem.code) for problem in found]


def test_what_is_written_is_what_was_read() -> None:
    limits = parse_limits(FULL)
    assert isinstance(limits, Limits)
    assert limits_to_json(limits) == FULL


def test_a_burst_is_the_rate_unless_set() -> None:
    limits = parse_limits({"rate_limits": [{"name": "a", "rate": 5, "per_s": 1}]})
    assert isinstance(limits, Limits)
    assert limits.rate_limits[0].burst == 5


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"quota": 0}, ("limits.quotas[0].quota", "required")),
        ({"quota": "many"}, ("limits.quotas[0].quota", "not_a_decimal")),
        ({"meter": "No Meter"}, ("limits.quotas[0].meter", "not_a_text")),
        ({"window": "week"}, ("limits.quotas[0].window", "not_a_choice")),
        ({"alerts_at": [95, 80]}, ("limits.quotas[0].alerts_at", "percent_order")),
        ({"alerts_at": [0]}, ("limits.quotas[0].alerts_at[0]", "not_a_percent")),
        (
            {"soft_limit_percent": 110, "buffer_percent": 105},
            ("limits.quotas[0].buffer_percent", "percent_order"),
        ),
        (
            {"buffer_percent": 115, "block_at_percent": 110},
            ("limits.quotas[0].block_at_percent", "percent_order"),
        ),
        ({"hard": 1}, ("limits.quotas[0].hard", "unknown_field")),
    ],
)
def test_a_quota_that_cannot_be(change: dict[str, Any], problem: tuple[str, str]) -> None:
    assert problem in codes({"quotas": [{"meter": "requests", "quota": 10} | change]})


def test_a_quota_that_never_blocks_needs_no_order() -> None:
    quota = {"meter": "requests", "quota": 10, "buffer_percent": 200, "block_at_percent": 0}
    assert isinstance(parse_limits({"quotas": [quota]}), Limits)


def test_a_longer_window_must_not_allow_less() -> None:
    quotas = [
        {"meter": "requests", "quota": 10, "window": "day"},
        {"meter": "requests", "quota": 9},
    ]
    assert codes({"quotas": quotas}) == [("limits.quotas[1].quota", "window_order")]
    quotas[1]["quota"] = 10
    assert isinstance(parse_limits({"quotas": quotas}), Limits)


def test_a_meter_has_one_quota_per_window() -> None:
    quota = {"meter": "requests", "quota": 10}
    assert codes({"quotas": [quota, quota]}) == [("limits.quotas[1].window", "duplicate_window")]


def test_quota_and_included_units_agree() -> None:
    price = Price(key="calls", model="per_unit", meter="requests", included=Decimal(1000))
    terms = Terms(prices=(price,))
    month = {"quotas": [{"meter": "requests", "quota": 900}]}
    assert codes(month, terms) == [("limits.quotas[0].quota", "included_differs")]
    month["quotas"][0]["quota"] = 1000
    assert isinstance(parse_limits(month, terms=terms), Limits)
    day = {"quotas": [{"meter": "requests", "quota": 100, "window": "day"}]}
    assert isinstance(parse_limits(day, terms=terms), Limits)


def test_refusals_are_free_whatever_a_plan_says() -> None:
    assert codes({"count_policy": {"refused": "billed"}}) == [
        ("limits.count_policy.refused", "refusal_free")
    ]


def test_every_problem_is_told_at_once() -> None:
    assert len(codes({"quotas": [{}], "rate_limits": [{}], "routes": [1], "x": 1})) == 7
