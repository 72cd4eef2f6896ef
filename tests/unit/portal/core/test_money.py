"""Minor units, exponents, one rounding and one way to split."""

import doctest
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.core import checked_input, money, periods, plan_terms
from portal.core.money import EXPONENTS, minor_to_major, round_half_up, split, to_minor
from portal.errors import UnknownCurrencyError


@pytest.mark.parametrize("module", [checked_input, money, periods, plan_terms])
def test_examples_in_docstrings(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("case", "amount", "currency", "minor"),
    [
        ("half goes up", "0.005", "USD", 1),
        ("half goes away from zero", "-0.005", "USD", -1),
        ("just below a half", "0.004999999999", "USD", 0),
        ("no minor unit", "10.5", "JPY", 11),
        ("three places", "0.0015", "KWD", 2),
        (
            "more digits than a context keeps",
            "123456789012345678.005",
            "USD",
            12345678901234567801,
        ),
    ],
)
def test_to_minor(case: str, amount: str, currency: str, minor: int) -> None:
    assert to_minor(Decimal(amount), currency) == minor


def test_currency_must_be_known() -> None:
    with pytest.raises(UnknownCurrencyError):
        to_minor(1, "XXX")


def test_exponents_of_iso_4217() -> None:
    assert len(EXPONENTS) > 150
    assert {EXPONENTS[c] for c in ("JPY", "KRW", "ISK", "XOF")} == {0}
    assert {EXPONENTS[c] for c in ("BHD", "KWD", "TND", "OMR")} == {3}


@given(st.integers(-(10**30), 10**30), st.sampled_from(sorted(EXPONENTS)))
def test_minor_to_major_and_back(amount: int, currency: str) -> None:
    assert to_minor(minor_to_major(amount, currency), currency) == amount


@given(st.fractions())
def test_rounding_is_nearest_and_symmetric(value: Fraction) -> None:
    assert abs(round_half_up(value) - value) <= Fraction(1, 2)
    assert round_half_up(-value) == -round_half_up(value)


@given(
    st.integers(0, 10**9),
    st.dictionaries(st.text("abc@:", min_size=1), st.integers(-(10**6), 10**9), min_size=1),
)
def test_parts_add_up_to_the_whole(total: int, weights: dict[str, int]) -> None:
    if sum(weights.values()) <= 0:
        weights["a"] = 1 + abs(sum(weights.values())) + abs(weights.get("a", 0))
    whole = sum(weights.values())
    if whole <= 0:
        return
    shares = split(total, weights)
    assert sum(shares.values()) == total
    assert all(abs(shares[k] - Fraction(total * w, whole)) < 1 for k, w in weights.items())


def test_ties_go_by_key() -> None:
    assert split(5, {"C": 100, "A": 100, "B": 100}) == {"A": 2, "B": 2, "C": 1}
    assert split(1, {"base": -100, "calls": 300}) == {"base": 0, "calls": 1}
