"""Pages of the site itself: theme, style guide, health, and the answers to errors."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from django import forms
from django.conf import settings
from django.core.paginator import Paginator
from django.db import DatabaseError, connection
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_GET, require_POST, require_safe

from gateway.contracts.environment import Mode
from portal.core.chart_layout import BarChart, Series
from portal.permissions import public_page
from portal.views.context import THEMES

YEAR_S: Final = 365 * 24 * 3600


@require_POST
@public_page
def theme_set(request: HttpRequest) -> HttpResponse:
    """Remember the theme in a cookie and go back where the form was."""
    back = request.POST.get("next", "/")
    hosts = {request.get_host()}
    if not url_has_allowed_host_and_scheme(back, hosts, require_https=request.is_secure()):
        back = "/"
    answer = HttpResponseRedirect(back)
    theme = request.POST.get("theme", "")
    if theme in THEMES:
        answer.set_cookie(
            "theme", theme, max_age=YEAR_S, samesite="Lax", secure=settings.SESSION_COOKIE_SECURE
        )
    return answer


@require_safe
@public_page
def livez(request: HttpRequest) -> HttpResponse:
    """Say that the process answers."""
    return JsonResponse({"status": "ok"})


@require_safe
@public_page
def readyz(request: HttpRequest) -> HttpResponse:
    """Say whether the database answers; 503 keeps traffic away."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return JsonResponse({"status": "database unavailable"}, status=503)
    return JsonResponse({"status": "ok"})


class ExampleForm(forms.Form):
    """Every kind of field that the design system knows."""

    name = forms.CharField(label="Name", help_text="Shown to your team.")
    note = forms.CharField(label="Note", widget=forms.Textarea, required=False)
    role = forms.ChoiceField(label="Role", choices=[("owner", "Owner"), ("dev", "Developer")])
    environment = forms.ChoiceField(
        label="Environment",
        choices=[("live", "Live"), ("test", "Test")],
        widget=forms.RadioSelect,
    )
    agree = forms.BooleanField(label="I have read the effect above")


def _example_chart() -> BarChart:
    labels = tuple(f"2026-03-{day:02d}" for day in range(1, 15))
    values = [
        Decimal(n) for n in (410, 380, 512, 733, 690, 180, 95, 840, 902, 871, 1004, 960, 410)
    ]
    values.append(Decimal(305))
    ok = tuple(value * 9 // 10 for value in values)
    refused = tuple(value - o for value, o in zip(values, ok, strict=True))
    return BarChart(
        title="Requests by day",
        description="Between 95 and 1,004 requests a day; 15 March is still filling.",
        labels=labels,
        series=(Series("2xx", "2xx", ok), Series("4xx", "4xx", refused)),
        unit="requests",
        partial=13,
        limit=Decimal(1200),
        limit_label="Plan limit 1,200",
    )


@require_GET
@public_page
def styleguide(request: HttpRequest) -> HttpResponse:
    """Show every component with every state; not part of a production installation."""
    if settings.ENV.mode is Mode.PRODUCTION:
        raise Http404
    context: dict[str, Any] = {
        "form": ExampleForm({"name": "", "environment": "live"}),
        "chart": _example_chart(),
        "history": [Decimal(n) for n in (2, 8, 5, 9, 14, 11, 20)],
        "at": datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC),
        "newest": datetime(2026, 3, 14, 9, 26, 51, tzinfo=UTC),
        "page": Paginator(range(120), 50).page(2),
    }
    return render(request, "portal/styleguide.html", context)


def _error(request: HttpRequest, status: int) -> HttpResponse:
    return render(request, f"errors/{status}.html", status=status)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _error(request, 400)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _error(request, 403)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _error(request, 404)


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer without context processors: the database may be what failed."""
    return render(None, "errors/500.html", status=500)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    return render(request, "errors/csrf.html", status=403)
