"""Amounts as people type them: major units, turned into minor ones without losing anything."""

from django import forms
from django.utils.translation import gettext_lazy as _

from portal.core.checked_input import Refusal, exact_decimal
from portal.core.money import major_to_minor, minor_to_major


def minor_of(text: str, currency: str) -> int:
    """Read an amount in major units; empty is zero.

    :raises ValidationError: for anything but a plain amount with no more places than the currency.
    """
    if not text.strip():
        return 0
    try:
        amount = exact_decimal(text.strip())
    except Refusal as refusal:
        raise forms.ValidationError(_("Enter an amount such as 12.50.")) from refusal
    minor = major_to_minor(amount, currency)
    if minor < 0 or minor_to_major(minor, currency) != amount:
        raise forms.ValidationError(_("Enter an amount such as 12.50."))
    return minor
