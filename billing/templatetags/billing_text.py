"""Amounts in templates: exact, grouped, always with the currency code."""

from decimal import Decimal

from django import template
from django.utils.translation import gettext_lazy as _

from billing.services.flags import FLAG_LABELS
from billing.services.money_text import amount_text
from portal.core.money import currency_exponent

register = template.Library()


@register.simple_tag
def money(amount_minor: int | None, currency: str) -> str:
    """Write `1,234.56 USD`; a dash where there is no amount."""
    return "—" if amount_minor is None else f"{amount_text(amount_minor, currency)} {currency}"


@register.filter
def exact(value: str, currency: str) -> str:
    """Write an unrounded amount with the decimals of its currency at least.

    >>> exact("95.2", "USD"), exact("0.123456", "USD"), exact("1190", "JPY")
    ('95.20', '0.123456', '1,190')
    """
    digits = max(len(value.partition(".")[2]), currency_exponent(currency))
    return f"{Decimal(value):,.{digits}f}"


@register.filter
def flag_label(flag: str) -> str:
    return str(FLAG_LABELS.get(flag, flag))


_KINDS = {
    "paid": "ok",
    "succeeded": "ok",
    "open": "info",
    "approved": "info",
    "issuing": "info",
    "held": "warn",
    "action_required": "warn",
    "uncollectible": "bad",
    "failed": "bad",
}


@register.filter
def state_kind(state: str) -> str:
    """Return the badge of a document's or a payment's state; neutral where nothing is to do."""
    return _KINDS.get(state, "")


_NOTE_KINDS = {"draft": "warn", "approved": "info", "issuing": "info", "issued": "ok"}
_DISPUTE_KINDS = {"lost": "bad", "won": "ok", "warning_closed": "ok", "prevented": "ok"}
_FINDING_LABELS = {
    "four_totals": _("Four totals"),
    "collector": _("Comparison with Stripe"),
}


@register.filter
def note_kind(state: str) -> str:
    """Return the badge of a credit note's state: a draft waits for somebody."""
    return _NOTE_KINDS.get(state, "")


@register.filter
def dispute_kind(status: str) -> str:
    """Return the badge of a dispute's status; whatever is not decided asks for an answer."""
    return _DISPUTE_KINDS.get(status, "warn")


@register.filter
def finding_label(kind: str) -> str:
    return str(_FINDING_LABELS.get(kind, code_words(kind)))


@register.filter
def code_words(code: str) -> str:
    """Write a machine's word as people read it: `needs_response` is "Needs response"."""
    return code.replace("_", " ").capitalize()
