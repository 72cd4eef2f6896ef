"""The account forms of allauth in the product's own words: labels alone, no placeholders."""

from typing import Any

from allauth.account import forms as account
from django.utils.translation import gettext_lazy as _

_LABELS = {
    "login": _("E-mail address"),
    "email": _("E-mail address"),
    "oldpassword": _("Current password"),
    "password2": _("New password, again"),
}


class _Words:
    fields: dict[str, Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            field.label = _LABELS.get(name, field.label)
            field.widget.attrs.pop("placeholder", None)  # it repeats the label


class _NewPassword(_Words):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["password1"].label = _("New password")


class LoginForm(_Words, account.LoginForm):  # type: ignore[misc]
    pass


class SignupForm(_Words, account.SignupForm):  # type: ignore[misc]
    pass


class AddEmailForm(_Words, account.AddEmailForm):  # type: ignore[misc]
    pass


class ChangePasswordForm(_NewPassword, account.ChangePasswordForm):  # type: ignore[misc]
    pass


class ResetPasswordForm(_Words, account.ResetPasswordForm):  # type: ignore[misc]
    pass


class ResetPasswordKeyForm(_NewPassword, account.ResetPasswordKeyForm):  # type: ignore[misc]
    pass


class ReauthenticateForm(_Words, account.ReauthenticateForm):  # type: ignore[misc]
    pass
