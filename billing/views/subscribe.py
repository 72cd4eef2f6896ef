"""From the pricing page onto a plan: choose, review, leave a card on the hosted page, done."""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods

from billing.errors import BillingError
from billing.models import CheckoutState, CustomerAccount, PlanCheckout
from billing.payments.stripe_adapter import collector
from billing.services.checkouts import (
    REFUSALS,
    checkout_settle,
    checkout_start,
    has_card,
    plan_costs,
)
from billing.services.plan_start import plan_start_preview
from billing.views.plan_words import plan_words
from portal.clock import now, wall_now
from portal.errors import PortalError, SubscriptionOverlapError
from portal.models import Membership, PlanVersion
from portal.permissions import (
    BILLING_ROLES,
    KEY_ROLES,
    member_required,
    person_of,
    signed_in,
)
from portal.selectors import offer_list
from portal.services.credentials import has_verified_mail
from portal.services.subscriptions import subscription_create_check

PROBLEMS: dict[str, type[PortalError] | type[BillingError]] = {
    error.code: error for error in REFUSALS
}


@never_cache
@require_GET
@signed_in
def plan_choose(request: HttpRequest) -> HttpResponse:
    """Lead a plan of the pricing page to the organization that is to have it."""
    version = get_object_or_404(offer_list(), plan__slug=request.GET.get("plan", ""))
    rows = Membership.objects.select_related("organization").filter(
        user=person_of(request), role__in=BILLING_ROLES
    )
    members = list(rows.order_by("organization__name"))
    if len(members) == 1:
        return redirect(_review_url(members[0], version))
    choices = [(member.organization, _review_url(member, version)) for member in members]
    context = {"version": version, "choices": choices}
    return render(request, "billing/plan_choose.html", context)


def _review_url(member: Membership, version: PlanVersion) -> str:
    """Return the review of a new subscription, or of a change of the one that covers it."""
    slug = member.organization.slug
    try:
        subscription_create_check(organization=member.organization, version=version, now=now())
    except SubscriptionOverlapError:
        held = _held_subscription(member, version)
        if held:
            query = f"?subscription={held}&plan={version.plan.slug}"
            return reverse("org_plan_confirm", args=[slug]) + query
    except PortalError:
        pass
    return reverse("org_subscribe", args=[slug]) + f"?plan={version.plan.slug}"


def _held_subscription(member: Membership, version: PlanVersion) -> str:
    rows = member.organization.subscriptions.filter(
        ends_at__isnull=True, plan__apis__in=version.plan.apis.all()
    ).distinct()
    found = list(rows.values_list("pk", flat=True)[:2])
    return found[0] if len(found) == 1 else ""


@never_cache
@require_http_methods(["GET", "POST"])
@member_required(*BILLING_ROLES)
def org_subscribe(request: HttpRequest, member: Membership) -> HttpResponse:
    """Review a plan: price, tax, renewal, how to cancel; then agree."""
    values = request.POST if request.method == "POST" else request.GET
    version = get_object_or_404(offer_list(), plan__slug=values.get("plan", ""))
    if request.method != "POST":
        return _review(request, member, version)
    if request.POST.get("version", "") != version.pk:
        problem = _("The plan has new terms since you opened this page. Here they are.")
        return _review(request, member, version, problem=problem, status=409)
    if _mail_needed(request, version):
        return _review(request, member, version, status=403)
    return _agree(request, member, version)


def _mail_needed(request: HttpRequest, version: PlanVersion) -> bool:
    return plan_costs(version) and not has_verified_mail(person_of(request))


def _review(
    request: HttpRequest,
    member: Membership,
    version: PlanVersion,
    *,
    problem: str = "",
    status: int = 200,
) -> HttpResponse:
    organization, at = member.organization, now()
    try:
        subscription_create_check(organization=organization, version=version, now=at)
    except PortalError as error:
        problem, status = problem or error.public, max(status, error.status)
    context: dict[str, Any] = {
        "organization": organization,
        "version": version,
        "words": plan_words(version),
        "start": plan_start_preview(organization=organization, version=version, now=at),
        "account": CustomerAccount.objects.filter(pk=organization.pk).first(),
        "costs": plan_costs(version),
        "card_needed": plan_costs(version) and not has_card(organization),
        "mail_needed": _mail_needed(request, version),
        "problem": problem,
        "as_of": at,
    }
    return render(request, "billing/app/subscribe.html", context, status=status)


def _agree(request: HttpRequest, member: Membership, version: PlanVersion) -> HttpResponse:
    """Start the checkout, and show its page; a second click finds what the first one made."""
    organization = member.organization
    try:
        checkout = checkout_start(
            organization=organization,
            version=version,
            actor=person_of(request),
            collector=collector(),
            now=now(),
            wall=wall_now(),
        )
    except SubscriptionOverlapError as error:
        done = PlanCheckout.objects.filter(
            organization=organization, plan_version=version, state=CheckoutState.DONE
        )
        newest = done.order_by("-created_at").first()
        if newest is not None and newest.subscription and newest.subscription.ends_at is None:
            return redirect("org_checkout", org=organization.slug, checkout_id=newest.pk)
        return _review(request, member, version, problem=error.public, status=error.status)
    except (PortalError, BillingError) as error:
        return _review(request, member, version, problem=error.public, status=error.status)
    return redirect("org_checkout", org=organization.slug, checkout_id=checkout.pk)


@never_cache
@require_GET
@member_required(*BILLING_ROLES)
def org_checkout(request: HttpRequest, member: Membership, checkout_id: str) -> HttpResponse:
    """Show where a checkout stands: the way to the card page, or what came of it.

    The card page sends the customer back here; a reload, a webhook that came first or one that
    comes late make no difference, because a checkout is settled once.
    """
    checkout = get_object_or_404(
        PlanCheckout.objects.select_related(
            "organization", "plan_version__plan", "created_by", "subscription"
        ),
        pk=checkout_id,
        organization=member.organization,
    )
    unread = False
    try:
        checkout = checkout_settle(
            checkout=checkout, collector=collector(), now=now(), wall=wall_now()
        )
    except BillingError:
        unread = True
    if unread:
        messages.warning(
            request, _("The payment provider does not answer. Reload this page in a moment.")
        )
    refusal = PROBLEMS.get(checkout.problem)
    context = {
        "organization": member.organization,
        "checkout": checkout,
        "version": checkout.plan_version,
        "account": CustomerAccount.objects.filter(pk=member.organization.pk).first(),
        "left": request.GET.get("left") == "1",
        "may_hold_keys": member.role in KEY_ROLES,
        "refusal": refusal.public if refusal else "",
    }
    return render(request, "billing/app/checkout.html", context)
