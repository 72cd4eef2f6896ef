"""Amounts in templates: exact, grouped, always with the currency code."""

from django import template

from billing.services.flags import FLAG_LABELS
from billing.services.money_text import amount_text

register = template.Library()


@register.simple_tag
def money(amount_minor: int | None, currency: str) -> str:
    """Write `1,234.56 USD`; a dash where there is no amount."""
    return "-" if amount_minor is None else f"{amount_text(amount_minor, currency)} {currency}"


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
