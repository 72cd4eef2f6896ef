"""Money: minor units, the exponents of the active currencies, one rounding, one way to split.

Owns the step from an exact amount to an integer of minor units. It prices nothing:
`billing.rating` does, and comes here once per line. Everything is exact; a float is refused.
"""

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Final

from portal.errors import UnknownCurrencyError

_TWO: Final = (
    "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD "
    "CDF CHE CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS "
    "GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD "
    "LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB "
    "PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP "
    "SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG YER ZAR ZMW "
    "ZWG"
)
_OTHER: Final = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}

EXPONENTS: Final[Mapping[str, int]] = {
    code: places for places, codes in {2: _TWO, **_OTHER}.items() for code in codes.split()
}
"""Active currencies and their number of decimal places (ISO 4217, table A.1)."""


def currency_exponent(currency: str) -> int:
    """Return the number of decimal places of a currency.

    :raises UnknownCurrencyError: unless it is an active ISO 4217 code with a minor unit.

    >>> currency_exponent("USD"), currency_exponent("JPY"), currency_exponent("KWD")
    (2, 0, 3)
    """
    try:
        return EXPONENTS[currency]
    except KeyError:
        raise UnknownCurrencyError(currency) from None


def round_half_up(value: Fraction) -> int:
    """Round to the nearest integer, halves away from zero.

    >>> [round_half_up(Fraction(n, 2)) for n in (1, 3, -1, -3, -2)]
    [1, 2, -1, -2, -1]
    """
    size, whole = abs(value.numerator), value.denominator
    rounded = (2 * size + whole) // (2 * whole)
    return rounded if value.numerator >= 0 else -rounded


def to_minor(amount: Decimal | Fraction | int, currency: str) -> int:
    """Round an exact amount in major units to minor units, half up and away from zero.

    :raises UnknownCurrencyError: unless the currency is known.

    >>> to_minor(Decimal("30.8625"), "USD"), to_minor(Decimal("10.5"), "JPY")
    (3086, 11)
    >>> to_minor(Fraction(-1, 200), "USD")
    -1
    """
    return round_half_up(Fraction(amount) * 10 ** currency_exponent(currency))


def major_to_minor(amount: Decimal | Fraction | int | str, currency: str) -> int:
    """Do `to_minor` for an amount that may still be a decimal string.

    :raises UnknownCurrencyError: unless the currency is known.
    :raises decimal.InvalidOperation: when the string is no number.

    >>> major_to_minor("20.00", "USD")
    2000
    """
    return to_minor(Decimal(amount) if isinstance(amount, str) else amount, currency)


def minor_to_major(amount_minor: int, currency: str) -> Decimal:
    """Write minor units as a decimal in major units, exactly, with the currency's places.

    >>> minor_to_major(-5, "USD"), minor_to_major(11, "JPY"), minor_to_major(1, "KWD")
    (Decimal('-0.05'), Decimal('11'), Decimal('0.001'))
    """
    digits = tuple(int(digit) for digit in str(abs(amount_minor)))
    return Decimal((int(amount_minor < 0), digits, -currency_exponent(currency)))


def divide(dividend: Fraction | Decimal | int, divisor: Fraction | Decimal | int) -> Fraction:
    """Divide exactly.

    >>> divide(Decimal("49"), 31)
    Fraction(49, 31)
    """
    return Fraction(dividend) / Fraction(divisor)  # money-ok: both are Fractions


def split(total_minor: int, weights: Mapping[str, int]) -> dict[str, int]:
    """Split an amount over keys in proportion to signed weights, so that parts add up to it.

    Each share is floored to minor units; what is left is handed out one by one by largest
    remainder, ties by key ascending. The weights must not sum to zero (`pricing.md` §2).

    >>> split(5, {"A": 100, "B": 100, "C": 100})
    {'A': 2, 'B': 2, 'C': 1}
    """
    whole = sum(weights.values())
    shares: dict[str, int] = {}
    remainders: list[tuple[int, str]] = []
    for key, weight in weights.items():
        shares[key], rest = divmod(total_minor * weight, whole)
        remainders.append((-rest if whole > 0 else rest, key))
    missing = total_minor - sum(shares.values())
    for _, key in sorted(remainders)[:missing]:
        shares[key] += 1
    return shares
