"""Comparing plans and confirming a change: what is confirmed is what was shown, to the cent."""

from datetime import datetime
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods

from billing.errors import BillingError, StalePreviewError
from billing.services.plan_change import (
    PlanChangePreview,
    Timing,
    default_timing,
    plan_change_confirm,
    plan_change_preview,
)
from billing.services.preview import plan_examples
from billing.views.plan import own_subscription
from billing.views.plan_words import PlanWords, plan_words
from billing.views.pricing import month_start
from gateway.contracts.access_log import parse_time
from portal.clock import now
from portal.errors import PortalError
from portal.models import Membership, PlanVersion, Subscription
from portal.permissions import BILLING_ROLES, member_required, person_of
from portal.selectors import offer_list, segment_at
from portal.usage import reader_or_none


def _timing(value: str) -> Timing | None:
    return Timing(value) if value in set(Timing) else None


def _card(
    version: PlanVersion, subscription: Subscription, held: PlanVersion | None, at: datetime
) -> dict[str, Any]:
    return {
        "version": version,
        "words": plan_words(version),
        "examples": plan_examples(version=version, month_start=month_start(at)),
        "is_current": held is not None and held.pk == version.pk,
        "timing": default_timing(
            held=held.plan if held else subscription.plan, version=version
        ).value,
    }


@never_cache
@require_GET
@member_required(*BILLING_ROLES)
def org_plan_change(request: HttpRequest, member: Membership) -> HttpResponse:
    """Compare the plans that cover the same APIs in the same currency."""
    subscription = own_subscription(member.organization, request.GET.get("subscription", ""))
    return _compare(request, member, subscription)


def _compare(
    request: HttpRequest,
    member: Membership,
    subscription: Subscription,
    *,
    problem: str = "",
    status: int = 200,
) -> HttpResponse:
    at = now()
    segment = segment_at(subscription_id=subscription.pk, at=at)
    held = segment.plan_version if segment else None
    apis = set(subscription.plan.apis.all())
    offers = [
        version
        for version in offer_list().filter(currency=subscription.organization.currency)
        if version.plan_id == subscription.plan_id or apis & set(version.plan.apis.all())
    ]
    if held is not None and held.pk not in {version.pk for version in offers}:
        offers.insert(0, held)
    context = {
        "organization": member.organization,
        "subscription": subscription,
        "held": held,
        "cards": [_card(version, subscription, held, at) for version in offers],
        "problem": problem,
        "as_of": at,
    }
    return render(request, "billing/app/plan_change.html", context, status=status)


@never_cache
@require_http_methods(["GET", "POST"])
@member_required(*BILLING_ROLES)
def org_plan_confirm(request: HttpRequest, member: Membership) -> HttpResponse:
    """Show the exact preview; the post brings its figures and its instant back."""
    values = request.POST if request.method == "POST" else request.GET
    subscription = own_subscription(member.organization, values.get("subscription", ""))
    version = get_object_or_404(offer_list(), plan__slug=values.get("plan", ""))
    timing = _timing(values.get("timing", ""))
    if request.method == "POST":
        return _confirm(request, member, subscription, version, timing)
    return _preview(request, member, subscription, version, timing)


def _preview(
    request: HttpRequest,
    member: Membership,
    subscription: Subscription,
    version: PlanVersion,
    timing: Timing | None,
    *,
    stale: str = "",
) -> HttpResponse:
    """Render the preview as of now; `stale` says why an earlier one was not carried out."""
    try:
        shown = plan_change_preview(
            subscription=subscription,
            version=version,
            reader=reader_or_none(),
            now=now(),
            timing=timing,
        )
    except PortalError as error:
        return _compare(request, member, subscription, problem=_reason(error), status=error.status)
    context = {
        "organization": member.organization,
        "shown": shown,
        "stale": stale,
        "other_timing": _other_timing(shown),
        "words": _both_words(shown),
    }
    return render(request, "billing/app/plan_confirm.html", context, status=409 if stale else 200)


def _both_words(shown: PlanChangePreview) -> tuple[PlanWords, PlanWords]:
    return plan_words(shown.from_version), plan_words(shown.to_version)


def _other_timing(shown: PlanChangePreview) -> str:
    """Return the other choice of an upgrade: now, or with the next period."""
    default = default_timing(held=shown.from_version.plan, version=shown.to_version)
    if default is not Timing.NOW:
        return ""
    return (Timing.PERIOD_END if shown.timing is Timing.NOW else Timing.NOW).value


def _reason(error: PortalError) -> str:
    problems = getattr(error, "problems", ())
    words = {
        "same_plan": _("You are on this plan already."),
        "downgrade_now": _("A smaller plan starts with the next period."),
        "usage_kind": _("This plan measures usage in another way: start it with the next period."),
        "mixed_currency": _("This plan is priced in another currency than yours."),
    }
    return next((words[p.code] for p in problems if p.code in words), error.public)


def _confirm(
    request: HttpRequest,
    member: Membership,
    subscription: Subscription,
    version: PlanVersion,
    timing: Timing | None,
) -> HttpResponse:
    at = _instant(request.POST.get("at", ""))
    if at is None or timing is None:
        return _preview(
            request, member, subscription, version, timing, stale=StalePreviewError.public
        )
    try:
        segment = plan_change_confirm(
            subscription=subscription,
            version=version,
            timing=timing,
            at=at,
            digest=request.POST.get("digest", ""),
            actor=person_of(request),
            reader=reader_or_none(),
            now=now(),
        )
    except BillingError as error:
        return _preview(request, member, subscription, version, timing, stale=error.public)
    except PortalError as error:
        return _compare(request, member, subscription, problem=_reason(error), status=error.status)
    text = _("%(plan)s is in force from %(at)s UTC on.")
    shown = {"plan": version.plan.name, "at": f"{segment.starts_at:%Y-%m-%d %H:%M:%S}"}
    messages.success(request, text % shown)
    return redirect("org_plan", org=member.organization.slug)


def _instant(text: str) -> datetime | None:
    try:
        return parse_time(text)
    except ValueError:
        return None
