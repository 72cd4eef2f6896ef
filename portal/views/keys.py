"""Keys of an organization: list, detail, new, rotate, revoke, and the view that shows one once."""

from datetime import datetime
from typing import Any, Final

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods

from portal.clock import now, wall_now
from portal.core.snippets import build_curl
from portal.errors import InputInvalidError, PortalError
from portal.forms.keys import KeyForm, RotateForm, initial_of
from portal.forms.problems import problems_show
from portal.models import Credential, Environment, Membership
from portal.permissions import KEY_ROLES, member_required, person_of, prove_recently
from portal.selectors import key_list as keys_of
from portal.selectors import sample_api, scopes_required
from portal.services.credentials import (
    IssuedCredential,
    credential_create,
    credential_reveal_test,
    credential_revoke,
    credential_rotate,
    has_verified_mail,
    is_ended,
)
from portal.views.key_activity import activity_of
from portal.views.start import sample_url

ENDING_SOON_DAYS: Final = 7


def key_state(credential: Credential, *, at: datetime) -> tuple[str, str]:
    """Return a badge's kind and word."""
    if credential.revoked_at is not None:
        return "bad", _("Revoked")
    if credential.expires_at is None:
        return "ok", _("Active")
    if credential.expires_at <= at:
        return "", _("Expired")
    if credential.rotated_to_id is not None:
        return "warn", _("Being replaced")
    soon = (credential.expires_at - at).days < ENDING_SOON_DAYS
    return ("warn", _("Expires soon")) if soon else ("ok", _("Active"))


def _own_key(member: Membership, key_id: str) -> Credential:
    """Return a key of the member's organization.

    :raises Http404: for a foreign or unknown id alike.
    """
    found = keys_of(organization=member.organization).filter(pk=key_id).first()
    if found is None:
        raise Http404
    return found


def _row(credential: Credential, *, activity: Any) -> dict[str, Any]:
    kind, word = key_state(credential, at=wall_now())
    return {"key": credential, "kind": kind, "state": word, "activity": activity.of(credential.pk)}


@require_GET
@member_required(*KEY_ROLES)
def key_list(request: HttpRequest, member: Membership) -> HttpResponse:
    """List the keys; ended ones only when asked for."""
    at, show_ended = now(), request.GET.get("ended") == "1"
    rows = list(keys_of(organization=member.organization))
    ended = [key for key in rows if is_ended(key, wall=wall_now())]
    shown = rows if show_ended else [key for key in rows if key not in ended]
    activity = activity_of(organization=member.organization, keys=shown, at=at)
    context = {
        "organization": member.organization,
        "rows": [_row(key, activity=activity) for key in shown],
        "several_applications": len({key.consumer_id for key in rows}) > 1,
        "ended_count": len(ended),
        "show_ended": show_ended,
        "as_of": at,
        "usage_down": activity.unavailable,
        "mail_verified": has_verified_mail(person_of(request)),
    }
    return render(request, "portal/app/key_list.html", context)


@never_cache
@require_GET
@member_required(*KEY_ROLES)
def key_detail(request: HttpRequest, member: Membership, key_id: str) -> HttpResponse:
    """Show one key: state, use of the last seven days, and a test key's text on request."""
    key, at = _own_key(member, key_id), now()
    activity = activity_of(organization=member.organization, keys=[key], at=at)
    context = _row(key, activity=activity) | {
        "organization": member.organization,
        "as_of": at,
        "usage_down": activity.unavailable,
        "ended": is_ended(key, wall=wall_now()),
        "secret": _test_secret(key),
        "previous": Credential.objects.filter(rotated_to=key).first(),
        "scopes_required": scopes_required(),
    }
    return render(request, "portal/app/key_detail.html", context)


def _test_secret(key: Credential) -> str:
    try:
        return credential_reveal_test(credential=key)
    except PortalError:
        return ""


def _step_up(request: HttpRequest, environment: str) -> None:
    """Ask for the password again before a live key is made; the post is resumed afterwards."""
    if environment == Environment.LIVE:
        prove_recently(request)


@never_cache
@require_http_methods(["GET", "POST"])
@member_required(*KEY_ROLES)
def key_new(request: HttpRequest, member: Membership) -> HttpResponse:
    """Make a key and show it once, in the answer itself: the secret is stored nowhere."""
    at, person = now(), person_of(request)
    initial = initial_of(request.GET)
    form = KeyForm(
        request.POST or None, organization=member.organization, now=wall_now(), initial=initial
    )
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        _step_up(request, data["environment"])
        try:
            issued = credential_create(
                consumer=data["consumer"],
                name=data["name"],
                environment=data["environment"],
                actor=person,
                now=at,
                ip_allow=data["ip_allow"],
                scopes=data.get("scopes", ()),
                expires_at=data["expires_on"],
            )
        except InputInvalidError as error:
            problems_show(form, error)
        except PortalError as error:
            form.add_error("environment", error.public)
        else:
            return _show_once(request, member, issued)
    context = {
        "organization": member.organization,
        "form": form,
        "mail_verified": has_verified_mail(person),
    }
    status = 422 if form.is_bound else 200
    return render(request, "portal/app/key_new.html", context, status=status)


def _show_once(request: HttpRequest, member: Membership, issued: IssuedCredential) -> HttpResponse:
    context = {
        "organization": member.organization,
        "issued": issued,
        "env_text": f"TOLLWAY_API_KEY={issued.secret}\n",
        "curl": build_curl(url=sample_url(sample_api()), key=issued.secret),
    }
    return render(request, "portal/app/key_once.html", context, status=201)


@never_cache
@require_http_methods(["GET", "POST"])
@member_required(*KEY_ROLES)
def key_rotate(request: HttpRequest, member: Membership, key_id: str) -> HttpResponse:
    """Replace a key; the page shows what the old one still carries."""
    key, at = _own_key(member, key_id), now()
    form = RotateForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        _step_up(request, key.environment)
        try:
            issued = credential_rotate(
                credential=key,
                overlap=form.cleaned_data["overlap"],
                actor=person_of(request),
                now=at,
                wall=wall_now(),
            )
        except PortalError as error:
            messages.error(request, error.public)
            return redirect("key_detail", member.organization.slug, key.pk)
        return _show_once(request, member, issued)
    activity = activity_of(organization=member.organization, keys=[key], at=at)
    context = _row(key, activity=activity) | {
        "organization": member.organization,
        "form": form,
        "as_of": at,
        "ended": is_ended(key, wall=wall_now()) or key.rotated_to_id is not None,
        "usage_down": activity.unavailable,
    }
    status = 422 if form.is_bound else 200
    return render(request, "portal/app/key_rotate.html", context, status=status)


@never_cache
@require_http_methods(["GET", "POST"])
@member_required(*KEY_ROLES)
def key_revoke(request: HttpRequest, member: Membership, key_id: str) -> HttpResponse:
    """End a key at once, after its effect in numbers has been shown."""
    key, at = _own_key(member, key_id), now()
    if request.method == "POST":
        try:
            credential_revoke(credential=key, actor=person_of(request), now=at)
        except PortalError as error:
            messages.error(request, error.public)
        else:
            text = _("%(key)s is revoked. Every gateway refuses it within a second.")
            messages.success(request, text % {"key": key})
        return redirect("key_list", member.organization.slug)
    activity = activity_of(organization=member.organization, keys=[key], at=at)
    context = _row(key, activity=activity) | {
        "organization": member.organization,
        "as_of": at,
        "ended": is_ended(key, wall=wall_now()),
        "usage_down": activity.unavailable,
    }
    return render(request, "portal/app/key_revoke.html", context)
