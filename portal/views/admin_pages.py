"""What the provider's pages share: who is asking, one form page, one confirm page."""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from django import forms
from django.contrib import messages
from django.core.paginator import Page, Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render

from portal.errors import InputInvalidError, PortalError
from portal.forms.problems import problems_show
from portal.models import StaffRole
from portal.permissions import staff_required

PAGE_SIZE: Final = 50
admin_only = staff_required(StaffRole.ADMIN)
staff_only = staff_required(StaffRole.ADMIN, StaffRole.FINANCE)


class Crumb(NamedTuple):
    """A link of the breadcrumbs; without `url` it is the page itself."""

    label: object
    url: str = ""


def form_page(
    request: HttpRequest,
    form: forms.Form,
    *,
    title: object,
    crumbs: Sequence[Crumb],
    submit: object,
    save: Callable[[], str],
    done: object,
    lead: object = "",
    multipart: bool = False,
) -> HttpResponse:
    """Show a form; on a valid POST call `save`, which returns where to go next.

    A refusal of the service comes back as errors of the form.
    """
    if request.method == "POST" and form.is_valid():
        try:
            url = save()
        except InputInvalidError as error:
            problems_show(form, error)
        except PortalError as error:
            form.add_error(None, error.public)
        else:
            messages.success(request, str(done))
            return redirect(url)
    context = {
        "form": form,
        "title": title,
        "lead": lead,
        "crumbs": crumbs,
        "submit": submit,
        "cancel_url": crumbs[-2].url if len(crumbs) > 1 else "",
        "multipart": multipart,
    }
    status = 422 if form.is_bound and form.errors else 200
    return render(request, "portal/admin/form.html", context, status=status)


def confirm_page(
    request: HttpRequest,
    *,
    title: object,
    effects: Sequence[object],
    crumbs: Sequence[Crumb],
    submit: object,
    act: Callable[[], str],
    done: object,
    form: forms.Form | None = None,
    kind: str = "danger",
) -> HttpResponse:
    """Ask before a step that takes something away; on POST do it."""
    refusal = ""
    if request.method == "POST" and (form is None or form.is_valid()):
        try:
            url = act()
        except InputInvalidError as error:
            refusal = "; ".join(f"{p.path}: {p.message}" for p in error.problems)
        except PortalError as error:
            refusal = error.public
        else:
            messages.success(request, str(done))
            return redirect(url)
    context = {
        "title": title,
        "effects": effects,
        "crumbs": crumbs,
        "submit": submit,
        "kind": kind,
        "form": form,
        "refusal": refusal,
        "cancel_url": crumbs[-2].url,
    }
    status = 409 if refusal else 422 if form and form.errors else 200
    return render(request, "portal/admin/confirm.html", context, status=status)


def posted(request: HttpRequest) -> QueryDict | None:
    """Return the posted fields, even when there are none; None for a request that only looks."""
    return request.POST if request.method == "POST" else None


def page_of(request: HttpRequest, rows: QuerySet[Any]) -> Page[Any]:
    """Return the page of rows that the query string asks for."""
    return Paginator(rows, PAGE_SIZE).get_page(request.GET.get("page"))


def query_without_page(request: HttpRequest) -> str:
    query = request.GET.copy()
    query.pop("page", None)
    return query.urlencode()
