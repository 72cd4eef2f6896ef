"""`/pricing` and the plan editor's preview: worked arithmetic from the real rating function."""

from datetime import datetime
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_GET

from billing.services.preview import included_units, main_meter, plan_examples
from billing.views.access import finance_only
from billing.views.plan_words import plan_words
from portal.clock import now
from portal.models import PlanVersion
from portal.selectors import offer_list
from portal.services.plans import plan_version_problems


def month_start(at: datetime) -> datetime:
    """Return the first instant of the calendar month that holds `at`."""
    return at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _card(version: PlanVersion, at: datetime) -> dict[str, Any]:
    meter = main_meter(version.terms)
    return {
        "plan": version.plan,
        "version": version,
        "words": plan_words(version),
        "meter": meter,
        "included": included_units(version, meter) if meter else None,
        "examples": plan_examples(version=version, month_start=month_start(at)),
    }


@require_GET
def pricing(request: HttpRequest) -> HttpResponse:
    """Show every public plan with what a month costs at several quantities."""
    at = now()
    cards = [_card(version, at) for version in offer_list()]
    return render(request, "billing/pricing.html", {"cards": cards})


@require_GET
@finance_only
def plan_preview(request: HttpRequest, version_id: str) -> HttpResponse:
    """Worked examples of one version, drafts included, for the plan editor's right-hand pane.

    A draft that cannot be published has none.
    """
    version = get_object_or_404(PlanVersion.objects.select_related("plan"), pk=version_id)
    if version.published_at is None and plan_version_problems(version):
        raise Http404
    return render(request, "billing/plan_preview.html", {"card": _card(version, now())})
