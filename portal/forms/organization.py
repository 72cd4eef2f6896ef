"""Forms about the organization and its people."""

from typing import Any

from babel import Locale
from django import forms
from django.utils.translation import gettext_lazy as _

from portal.core.checked_input import MAX_MAIL_CHARS
from portal.models import Membership, Role


def country_choices(language: str = "en") -> list[tuple[str, str]]:
    """Return ISO 3166-1 codes with their names, sorted by name."""
    names = Locale.parse(language).territories
    rows = [(code, name) for code, name in names.items() if len(code) == 2 and code.isalpha()]
    real = [row for row in rows if row[0] not in {"EU", "EZ", "QO", "UN", "XA", "XB", "ZZ"}]
    return [("", "—"), *sorted(real, key=lambda row: row[1])]


class NameForm(forms.Form):
    name = forms.CharField(
        label=_("Name"), max_length=120, help_text=_("Its address in the app stays the same.")
    )


class BillingDetailsForm(forms.Form):
    """What is printed on invoices and where they are sent."""

    billing_email = forms.EmailField(
        label=_("Billing e-mail"),
        max_length=MAX_MAIL_CHARS,
        required=False,
        help_text=_("Invoices and payment notices go here."),
    )
    address = forms.CharField(
        label=_("Address"),
        required=False,
        max_length=1000,
        widget=forms.Textarea(attrs={"rows": 4}),
        help_text=_("As it shall stand on invoices."),
    )
    country = forms.ChoiceField(label=_("Country"), choices=country_choices, required=False)
    tax_id = forms.CharField(
        label=_("Tax ID"),
        required=False,
        max_length=40,
        help_text=_("VAT number or the like."),
    )


def offered_roles(actor: Membership) -> list[tuple[str, Any]]:
    """Return the roles a member may hand out: ownership only if they own."""
    owner = actor.role == Role.OWNER
    return [(value, label) for value, label in Role.choices if owner or value != Role.OWNER]


class InviteForm(forms.Form):
    email = forms.EmailField(label=_("E-mail address"), max_length=MAX_MAIL_CHARS)
    role = forms.ChoiceField(label=_("Role"))

    def __init__(self, *args: Any, actor: Membership, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        role = self.fields["role"]
        assert isinstance(role, forms.ChoiceField)  # noqa: S101 - for the type checker
        role.choices = offered_roles(actor)
        role.initial = Role.DEVELOPER


class RoleForm(forms.Form):
    role = forms.ChoiceField(label=_("Role"), widget=forms.RadioSelect)

    def __init__(self, *args: Any, actor: Membership, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        role = self.fields["role"]
        assert isinstance(role, forms.ChoiceField)  # noqa: S101 - for the type checker
        role.choices = offered_roles(actor)
