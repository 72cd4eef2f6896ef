"""The customer's plan: what it is, where it stands, cancelling and taking that back."""

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from billing.services.plan_rows import plan_row, plan_rows
from billing.views.plan_words import plan_words
from portal.clock import now
from portal.errors import PortalError
from portal.models import Membership, Organization, Subscription
from portal.permissions import BILLING_ROLES, EVERY_ROLE, member_required, person_of
from portal.selectors import not_over
from portal.services.subscriptions import (
    subscription_cancel,
    subscription_cancel_undo,
    subscription_change_undo,
)
from portal.views.badges import subscription_badge


def own_subscription(organization: Organization, subscription_id: str) -> Subscription:
    """Return the subscription named, or the only one that is not over.

    :raises Http404: for a foreign, unknown or ended one, and where none is named among several.
    """
    rows = organization.subscriptions.select_related("plan", "organization").filter(
        not_over(now())
    )
    if subscription_id:
        rows = rows.filter(pk=subscription_id)
    found = list(rows[:2])
    if len(found) != 1:
        raise Http404
    return found[0]


def may_manage(member: Membership) -> bool:
    return member.role in BILLING_ROLES


@never_cache
@require_GET
@member_required(*EVERY_ROLE)
def org_plan(request: HttpRequest, member: Membership) -> HttpResponse:
    """Show each subscription: its terms in words, quotas, spend, what is scheduled."""
    at = now()
    rows = plan_rows(organization=member.organization, at=at)
    context = {
        "organization": member.organization,
        "rows": [
            (
                row,
                plan_words(row.version) if row.version else None,
                subscription_badge(row.subscription, at),
            )
            for row in rows
        ],
        "as_of": at,
        "may_manage": may_manage(member),
    }
    return render(request, "billing/app/plan.html", context)


@never_cache
@require_http_methods(["GET", "POST"])
@member_required(*BILLING_ROLES)
def org_plan_cancel(request: HttpRequest, member: Membership) -> HttpResponse:
    """Say what ends and when, then end the subscription with its period."""
    values = request.POST if request.method == "POST" else request.GET
    subscription = own_subscription(member.organization, values.get("subscription", ""))
    if request.method == "POST":
        try:
            ends_at = subscription_cancel(
                subscription=subscription,
                actor=person_of(request),
                now=now(),
                reason=request.POST.get("reason", "")[:300],
            )
        except PortalError as error:
            messages.error(request, error.public)
        else:
            text = _("The plan ends on %(at)s UTC. Until then you can take this back.")
            messages.success(request, text % {"at": f"{ends_at:%Y-%m-%d %H:%M}"})
        return redirect("org_plan", org=member.organization.slug)
    at = now()
    row = plan_row(subscription, at)
    context = {"organization": member.organization, "row": row, "as_of": at}
    return render(request, "billing/app/plan_cancel.html", context)


@require_POST
@member_required(*BILLING_ROLES)
def org_plan_undo(request: HttpRequest, member: Membership) -> HttpResponse:
    """Take back what is scheduled: a cancellation, else a change of plan."""
    subscription = own_subscription(member.organization, request.POST.get("subscription", ""))
    undo = subscription_change_undo if subscription.ends_at is None else subscription_cancel_undo
    try:
        undo(subscription=subscription, actor=person_of(request), now=now())
    except PortalError as error:
        messages.error(request, error.public)
    else:
        messages.success(request, _("Taken back: the plan goes on as it is."))
    return redirect("org_plan", org=member.organization.slug)
