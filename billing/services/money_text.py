"""Writes minor units for people: exact digits, grouped, the currency's own number of places."""

from portal.core.money import currency_exponent


def amount_text(amount_minor: int, currency: str) -> str:
    """Write an amount without its currency code.

    >>> amount_text(-123456, "USD"), amount_text(1500, "JPY"), amount_text(5, "KWD")
    ('-1,234.56', '1,500', '0.005')
    """
    places = currency_exponent(currency)
    whole, rest = divmod(abs(amount_minor), 10**places)
    sign = "-" if amount_minor < 0 else ""
    tail = f".{rest:0{places}d}" if places else ""
    return f"{sign}{whole:,}{tail}"


def decimal_text(amount_minor: int, currency: str) -> str:
    """Write an amount for machines: no grouping.

    >>> decimal_text(123456, "USD")
    '1234.56'
    """
    return amount_text(amount_minor, currency).replace(",", "")
