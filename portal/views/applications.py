"""Applications of an organization (consumers): list, new, rename, deactivate, activate."""

from collections.abc import Callable

from django import forms
from django.contrib import messages
from django.db.models import Count, OuterRef, Subquery
from django.db.models.functions import Coalesce
from django.forms import model_to_dict
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from portal.clock import now, wall_now
from portal.errors import InputInvalidError, PortalError
from portal.forms.applications import ConsumerEditForm, ConsumerForm, SwitchForm
from portal.forms.problems import problems_show
from portal.models import Consumer, Credential, Membership
from portal.permissions import KEY_ROLES, member_required, person_of
from portal.selectors import key_works
from portal.services.consumers import (
    CONSUMERS_MAX,
    DETAIL_FIELDS,
    consumer_activate,
    consumer_create,
    consumer_deactivate,
    consumer_update,
    is_last_in_use,
)


def _own(member: Membership, consumer_id: str) -> Consumer:
    """Return an application of the member's organization.

    :raises Http404: for a foreign or unknown id alike.
    """
    rows = member.organization.consumers.select_related("organization")
    return get_object_or_404(rows, pk=consumer_id)


def _accepted(form: forms.Form, step: Callable[[], object]) -> bool:
    """Try a service; False = it was refused, as the form says now."""
    try:
        step()
    except InputInvalidError as error:
        problems_show(form, error)
    except PortalError as error:
        form.add_error(None, error.public)
    return form.is_valid()


@require_GET
@member_required(*KEY_ROLES)
def consumer_list(request: HttpRequest, member: Membership) -> HttpResponse:
    """List the applications with the keys of each that work."""
    working = Credential.objects.filter(key_works(wall_now()), consumer=OuterRef("pk"))
    counted = working.order_by().values("consumer").annotate(n=Count("pk")).values("n")
    rows = member.organization.consumers.annotate(keys=Coalesce(Subquery(counted), 0))
    context = {
        "organization": member.organization,
        "rows": rows.order_by("created_at", "pk"),
        "most": CONSUMERS_MAX,
    }
    return render(request, "portal/app/consumer_list.html", context)


@require_http_methods(["GET", "POST"])
@member_required(*KEY_ROLES)
def consumer_new(request: HttpRequest, member: Membership) -> HttpResponse:
    """Add an application."""
    form = ConsumerForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        values, actor = form.cleaned_data, person_of(request)
        if _accepted(
            form,
            lambda: consumer_create(
                organization=member.organization, values=values, actor=actor, now=now()
            ),
        ):
            messages.success(request, _("%s is made. It has no key yet.") % values["name"])
            return redirect("consumer_list", member.organization.slug)
    context = {"organization": member.organization, "form": form}
    status = 422 if form.is_bound else 200
    return render(request, "portal/app/consumer_new.html", context, status=status)


@require_http_methods(["GET", "POST"])
@member_required(*KEY_ROLES)
def consumer_edit(request: HttpRequest, member: Membership, consumer_id: str) -> HttpResponse:
    """Rename an application, or give it another id of the customer's own."""
    row = _own(member, consumer_id)
    form = ConsumerEditForm(request.POST or None, initial=model_to_dict(row, DETAIL_FIELDS))
    if request.method == "POST" and form.is_valid():
        values, actor = form.cleaned_data, person_of(request)
        if _accepted(
            form, lambda: consumer_update(consumer=row, values=values, actor=actor, now=now())
        ):
            messages.success(request, _("Saved."))
            return redirect("consumer_list", member.organization.slug)
    context = {"organization": member.organization, "consumer": row, "form": form}
    status = 422 if form.is_bound else 200
    return render(request, "portal/app/consumer_edit.html", context, status=status)


@require_http_methods(["GET", "POST"])
@member_required(*KEY_ROLES)
def consumer_stop(request: HttpRequest, member: Membership, consumer_id: str) -> HttpResponse:
    """Deactivate an application, after its effect in numbers has been shown."""
    row, at = _own(member, consumer_id), now()
    is_last = is_last_in_use(row, wall=wall_now())
    form = SwitchForm(request.POST if request.method == "POST" else None, is_last=is_last)
    if request.method == "POST" and form.is_valid():
        values, actor = form.cleaned_data, person_of(request)
        if _accepted(
            form,
            lambda: consumer_deactivate(
                consumer=row,
                actor=actor,
                now=at,
                keep_last_at=None if values.get("even_last") else wall_now(),
                reason=values["reason"],
            ),
        ):
            text = _("%s is deactivated. Every gateway refuses its keys within a second.")
            messages.success(request, text % row.name)
            return redirect("consumer_list", member.organization.slug)
    return _switch_page(request, member, row, form)


@require_http_methods(["GET", "POST"])
@member_required(*KEY_ROLES)
def consumer_start(request: HttpRequest, member: Membership, consumer_id: str) -> HttpResponse:
    """Activate an application again."""
    row, at = _own(member, consumer_id), now()
    form = SwitchForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        reason = form.cleaned_data["reason"]
        consumer_activate(consumer=row, actor=person_of(request), now=at, reason=reason)
        messages.success(request, _("%s is active again.") % row.name)
        return redirect("consumer_list", member.organization.slug)
    return _switch_page(request, member, row, form)


def _switch_page(
    request: HttpRequest, member: Membership, row: Consumer, form: SwitchForm
) -> HttpResponse:
    """Ask whether the application is to stop (if it is active) or to go on."""
    context = {
        "organization": member.organization,
        "consumer": row,
        "form": form,
        "keys": row.credentials.filter(key_works(wall_now())).count(),
    }
    status = 422 if form.is_bound else 200
    return render(request, "portal/app/consumer_switch.html", context, status=status)
