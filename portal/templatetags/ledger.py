"""Figures in templates: money, quantities, times. Exact values in, text out."""

from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

from babel import Locale
from babel.numbers import format_currency, format_decimal
from django import template
from django.utils.translation import get_language, gettext, to_locale

from gateway.contracts.access_log import Charge, format_time
from portal.core.money import minor_to_major

register = template.Library()


def _locale() -> Locale:
    return Locale.parse(to_locale(get_language() or "en"))


@register.filter
def money(minor: int | str | None, currency: str) -> str:
    """Write minor units as an amount with its currency code; a dash where there is none."""
    if minor is None or minor == "":
        return "—"
    amount = minor_to_major(int(minor), currency)
    places = "0" * max(0, -int(amount.as_tuple().exponent))
    pattern = f"#,##0{'.' if places else ''}{places}\xa0¤¤"
    return format_currency(
        amount, currency, format=pattern, locale=_locale(), currency_digits=False
    )


@register.filter
def quantity(value: Decimal | int | str | None) -> str:
    """Write a number grouped, without trailing zeros; a dash where there is none."""
    if value is None or value == "":
        return "—"
    try:
        return format_decimal(Decimal(str(value)), format="#,##0.############", locale=_locale())
    except InvalidOperation:
        return str(value)


@register.filter
def charge_label(charge: str) -> str:
    """Name what a request cost, in a table; an unknown code is shown as it is."""
    names = {
        Charge.BILLED: gettext("Billed"),
        Charge.COUNTED: gettext("Quota only"),
        Charge.FREE: gettext("Free"),
    }
    return names.get(Charge(charge), charge) if charge in set(Charge) else charge


@register.filter
def action_words(action: str) -> str:
    """Write an audit action as people read it.

    >>> action_words("credit_note.approve")
    'Credit note: approve'
    """
    return action.replace("_", " ").replace(".", ": ").capitalize()


@register.filter
def iso(at: datetime) -> str:
    return format_time(at)


@register.filter
def utc_seconds(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


@register.filter
def utc_minutes(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


@register.filter
def utc_date(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d}"


@register.filter
def milliseconds(microseconds: int) -> str:
    """Write a latency: `0.4 ms`, `38 ms`, `1,204 ms`."""
    tenths = (microseconds + 50) // 100
    shown = Decimal(tenths) / 10 if tenths < 100 else Decimal((microseconds + 500) // 1000)
    return f"{format_decimal(shown, locale=_locale())}\xa0ms"


@register.filter
def lag_before(newest: datetime, at: datetime | None) -> str:
    """Say how long before `at` something happened: `2 s before`, `3 h before`."""
    if at is None:
        return utc_seconds(newest)
    return gettext("%(span)s before") % {"span": _span(max(0, int((at - newest).total_seconds())))}


def _span(seconds: int) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}\xa0{unit}"
    return f"{seconds}\xa0s"
