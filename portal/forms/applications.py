"""Forms about applications (consumers); what may stand in the fields, the service says."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _


class ConsumerEditForm(forms.Form):
    """What may change later."""

    name = forms.CharField(label=_("Name"), max_length=120)
    custom_id = forms.CharField(
        label=_("Your own id"),
        required=False,
        max_length=120,
        help_text=_("The API sees it with every call, in the header X-Consumer-Custom-ID."),
    )


class ConsumerForm(ConsumerEditForm):
    """A new application."""

    username = forms.CharField(
        label=_("Username"),
        required=False,
        max_length=60,
        help_text=_(
            "The API sees it with every call, in the header X-Consumer-Username. It never "
            "changes. Empty: one is made."
        ),
    )


class SwitchForm(forms.Form):
    """Why an application is stopped or started; the last one asks for one more word."""

    reason = forms.CharField(
        label=_("Reason"), required=False, max_length=300, help_text=_("For the audit log.")
    )
    even_last = forms.BooleanField(label=_("Stop every key of this organization"))

    def __init__(self, *args: Any, is_last: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not is_last:
            del self.fields["even_last"]
