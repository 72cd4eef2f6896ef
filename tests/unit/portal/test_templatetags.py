"""Figures as text: exact, grouped, with the currency's code."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.utils.translation import override

from portal.core.money import EXPONENTS
from portal.templatetags.ledger import lag_before, milliseconds, money, quantity

AT = datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC)


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [
        (1234567, "USD", "12,345.67 USD"),
        (-5, "USD", "-0.05 USD"),
        (980, "JPY", "980 JPY"),
        (1005, "KWD", "1.005 KWD"),
        (1005, "IQD", "1.005 IQD"),
        (0, "EUR", "0.00 EUR"),
        ("42", "USD", "0.42 USD"),
        (None, "USD", "—"),
        (10**17 + 1, "USD", "1,000,000,000,000,000.01 USD"),
    ],
)
def test_money(minor: int | str | None, currency: str, text: str) -> None:
    assert money(minor, currency).replace("\xa0", " ") == text


@pytest.mark.parametrize("currency", sorted(EXPONENTS))
def test_every_currency_shows_its_own_places(currency: str) -> None:
    digits = money(1, currency).split("\xa0")[0]
    assert len(digits.partition(".")[2]) == EXPONENTS[currency]


def test_money_follows_the_language() -> None:
    with override("de"):
        assert money(1234567, "USD").replace("\xa0", " ") == "12.345,67 USD"


@pytest.mark.parametrize(
    ("value", "text"),
    [(1204411, "1,204,411"), (Decimal("0.500"), "0.5"), ("x", "x"), (None, "—"), (0, "0")],
)
def test_quantity(value: Decimal | int | str | None, text: str) -> None:
    assert quantity(value) == text


@pytest.mark.parametrize(
    ("microseconds", "text"),
    [(0, "0 ms"), (440, "0.4 ms"), (38_400, "38 ms"), (1_204_000, "1,204 ms")],
)
def test_milliseconds(microseconds: int, text: str) -> None:
    assert milliseconds(microseconds).replace("\xa0", " ") == text


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (timedelta(seconds=2), "2 s before"),
        (timedelta(minutes=7), "7 min before"),
        (timedelta(hours=3), "3 h before"),
        (timedelta(days=4), "4 d before"),
        (timedelta(seconds=-2), "0 s before"),
    ],
)
def test_lag(span: timedelta, text: str) -> None:
    assert lag_before(AT - span, AT).replace("\xa0", " ") == text
