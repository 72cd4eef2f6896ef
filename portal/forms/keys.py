"""Forms about keys."""

from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta
from typing import Any, Final

from django import forms
from django.utils.translation import gettext_lazy as _

from portal.core.catalog_input import networks_of
from portal.models import Consumer, Environment, Organization
from portal.selectors import scopes_required

SHOWN_ROUTES: Final = 3
OVERLAPS: Final = {
    "0": timedelta(0),
    "3600": timedelta(hours=1),
    "86400": timedelta(days=1),
    "604800": timedelta(days=7),
}


class KeyForm(forms.Form):
    """A new key. `now`, the machine's, bounds the expiry; the organization the applications.

    Where there is one application only, nothing is asked.
    """

    name = forms.CharField(
        label=_("Name"), max_length=80, help_text=_("Where it is used: “Production server”.")
    )
    environment = forms.ChoiceField(
        label=_("Environment"), choices=Environment.choices, widget=forms.RadioSelect
    )
    consumer = forms.ModelChoiceField(
        label=_("Application"), queryset=Consumer.objects.none(), empty_label=None
    )
    expires_on = forms.DateField(
        label=_("Expires on"),
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}),
        help_text=_("The key stops at 00:00 UTC of this day. Empty: it does not expire."),
    )
    ip_allow = forms.CharField(
        label=_("Allowed addresses"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "class": "mono"}),
        help_text=_("One address or network per line, like 203.0.113.0/24. Empty: every address."),
    )
    scopes = forms.MultipleChoiceField(
        label=_("Scopes"),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=_(
            "Some routes require scopes. Without a scope the key gets 403 insufficient_scope on "
            "the routes beside it. A key keeps its scopes; for others, make another key."
        ),
    )

    def __init__(self, *args: Any, organization: Organization, now: datetime, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._now = now
        field = self.fields["consumer"]
        assert isinstance(field, forms.ModelChoiceField)  # noqa: S101 - for the type checker
        field.queryset = organization.consumers.filter(is_active=True).order_by("created_at")
        choices = list(field.queryset[:2])
        field.initial = choices[0] if choices else None
        only = choices[0].pk if len(choices) == 1 else ""
        if only and self.data.get("consumer", only) == only:
            field.widget = forms.HiddenInput()
        self.has_application = bool(choices)
        self._offer_scopes()

    def _offer_scopes(self) -> None:
        """Offer what routes require; where none requires any, there is nothing to choose."""
        field, required = self.fields["scopes"], scopes_required()
        assert isinstance(field, forms.MultipleChoiceField)  # noqa: S101 - for the type checker
        field.choices = [
            (scope, _scope_label(scope, routes)) for scope, routes in required.items()
        ]
        if not required:
            del self.fields["scopes"]

    def clean_scopes(self) -> tuple[str, ...]:
        return tuple(self.cleaned_data["scopes"])

    def clean_expires_on(self) -> datetime | None:
        day = self.cleaned_data["expires_on"]
        if day is None:
            return None
        expires_at = datetime.combine(day, time(), UTC)
        if expires_at <= self._now:
            raise forms.ValidationError(_("Choose a day in the future."), code="past")
        return expires_at

    def clean_ip_allow(self) -> tuple[str, ...]:
        lines = [line.strip() for line in self.cleaned_data["ip_allow"].splitlines()]
        try:
            return networks_of([line for line in lines if line])
        except ValueError as error:
            raise forms.ValidationError(str(error), code="address") from error


def _scope_label(scope: str, routes: list[str]) -> str:
    """Name a scope with the first routes that require it."""
    more = " …" if len(routes) > SHOWN_ROUTES else ""
    return f"{scope} · {', '.join(routes[:SHOWN_ROUTES])}{more}"


class RotateForm(forms.Form):
    """How long the old key goes on beside the new one."""

    overlap = forms.ChoiceField(
        label=_("The old key goes on for"),
        choices=[
            ("0", _("Not at all: end it now")),
            ("3600", _("1 hour")),
            ("86400", _("24 hours")),
            ("604800", _("7 days")),
        ],
        initial="86400",
        widget=forms.RadioSelect,
    )

    def clean_overlap(self) -> timedelta:
        return OVERLAPS[self.cleaned_data["overlap"]]


def initial_of(query: Mapping[str, str]) -> dict[str, str]:
    """Preselect what the query string names: an environment (else test) and an application."""
    environment, consumer = query.get("environment", ""), query.get("consumer", "")
    known = environment in Environment.values
    found = {"environment": environment if known else Environment.TEST.value}
    return found | ({"consumer": consumer} if consumer else {})
