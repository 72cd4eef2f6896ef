"""Customers and their subscriptions, as the provider's people see and change them."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.db.models import Count, Prefetch
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from metering.errors import MeteringUnavailableError
from metering.queries import Dimension, UsageFilter, UsageReport
from portal import clock
from portal.forms.provider import ChangeForm, CustomerSearchForm, ReasonForm, SubscribeForm
from portal.models import (
    AuditEvent,
    BillingPeriod,
    Credential,
    Organization,
    Segment,
    Subscription,
)
from portal.permissions import person_of
from portal.selectors import customer_search, not_over
from portal.services.subscriptions import (
    soonest_change,
    subscription_cancel,
    subscription_cancel_undo,
    subscription_change,
    subscription_change_undo,
    subscription_create,
    subscription_pause,
    subscription_resume,
)
from portal.usage import reader
from portal.views.admin_pages import (
    Crumb,
    admin_only,
    confirm_page,
    form_page,
    page_of,
    posted,
    query_without_page,
    staff_only,
)
from portal.views.badges import organization_badge, subscription_badge
from portal.views.keys import key_state

_form_methods = require_http_methods(["GET", "POST"])
_RECENT = 15
_WITH_SEGMENTS = Prefetch("segments", Segment.objects.select_related("plan_version__plan"))


def _customers_crumb() -> Crumb:
    return Crumb(_("Customers"), reverse("admin_customers"))


def _customer_crumb(organization: Organization) -> Crumb:
    return Crumb(organization.name, reverse("admin_customer", args=[organization.pk]))


@require_GET
@staff_only
def customer_list(request: HttpRequest) -> HttpResponse:
    form = CustomerSearchForm(request.GET)
    text = form.cleaned_data["q"].strip() if form.is_valid() else ""
    rows = customer_search(text).prefetch_related("subscriptions__plan")
    members = Organization.objects.annotate(n=Count("memberships")).values_list("pk", "n")
    page = page_of(request, rows)
    counts = dict(members.filter(pk__in=[row.pk for row in page]))
    now = clock.now()
    context = {
        "form": form,
        "page": page,
        "query": query_without_page(request),
        "searched": text,
        "rows": [_customer_row(row, counts.get(row.pk, 0), now) for row in page.object_list],
    }
    return render(request, "portal/admin/customers.html", context)


def _customer_row(organization: Organization, members: int, now: datetime) -> dict[str, Any]:
    running = _running(organization.subscriptions.all(), now)
    badge = organization_badge(organization, has_plan=bool(running))
    return {"row": organization, "members": members, "running": running, "badge": badge}


def _running(subscriptions: Iterable[Subscription], now: datetime) -> list[Subscription]:
    return [s for s in subscriptions if s.ends_at is None or s.ends_at > now]


@require_GET
@staff_only
def customer_detail(request: HttpRequest, organization_id: str) -> HttpResponse:
    organization = get_object_or_404(Organization, pk=organization_id)
    now = clock.now()
    subscriptions = (
        organization.subscriptions.select_related("plan")
        .prefetch_related(_WITH_SEGMENTS)
        .order_by("-starts_at")
    )
    keys = Credential.objects.filter(consumer__organization=organization)
    events = AuditEvent.objects.filter(organization=organization)
    context = {
        "organization": organization,
        "members": organization.memberships.select_related("user").order_by("created_at"),
        "consumers": organization.consumers.annotate(keys=Count("credentials")).order_by("name"),
        "keys": [
            (key, key_state(key, at=now))
            for key in keys.select_related("consumer").order_by("-created_at")[:50]
        ],
        "badge": organization_badge(organization, has_plan=bool(_running(subscriptions, now))),
        "subscriptions": [_described(s, now) for s in subscriptions],
        "events": events.order_by("-at", "-id")[:_RECENT],
        "now": now,
        "usage": _usage(organization, now),
    }
    return render(request, "portal/admin/customer.html", context)


def _described(subscription: Subscription, now: datetime) -> dict[str, Any]:
    """Return a subscription with the segment in force and the one that is planned."""
    segments = sorted(subscription.segments.all(), key=lambda segment: segment.starts_at)
    begun = [s for s in segments if s.starts_at <= now]
    planned = [s for s in segments if s.starts_at > now]
    return {
        "row": subscription,
        "segments": segments,
        "current": begun[-1] if begun else None,
        "planned": planned[-1] if planned and begun else None,
        "state": subscription_badge(subscription, now),
    }


def _usage(organization: Organization, now: datetime) -> list[dict[str, Any]] | None:
    """Return usage per running billing period; None when the usage log does not answer."""
    periods = BillingPeriod.objects.filter(
        subscription__organization=organization, starts_at__lte=now, ends_at__gt=now
    ).select_related("subscription__plan")
    try:
        return [{"period": period, "report": _report(period, now)} for period in periods]
    except MeteringUnavailableError:
        return None


def _report(period: BillingPeriod, now: datetime) -> UsageReport:
    where = UsageFilter(start=period.starts_at, end=now, subscription_id=period.subscription_id)
    return reader().usage(where, by=(Dimension.METER, Dimension.CHARGE))


@require_GET
@staff_only
def subscription_list(request: HttpRequest) -> HttpResponse:
    now = clock.now()
    rows = Subscription.objects.select_related("organization", "plan").prefetch_related(
        _WITH_SEGMENTS
    )
    if request.GET.get("all") != "1":
        rows = rows.filter(not_over(now))
    page = page_of(request, rows.order_by("-starts_at", "pk"))
    context = {
        "page": page,
        "query": query_without_page(request),
        "rows": [_described(row, now) for row in page.object_list],
        "all": request.GET.get("all") == "1",
    }
    return render(request, "portal/admin/subscriptions.html", context)


@_form_methods
@admin_only
def subscribe(request: HttpRequest, organization_id: str) -> HttpResponse:
    organization = get_object_or_404(Organization, pk=organization_id)
    form = SubscribeForm(posted(request))

    def save() -> str:
        subscription_create(
            organization=organization,
            version=form.cleaned_data["version"],
            actor=person_of(request),
            now=clock.now(),
        )
        return reverse("admin_customer", args=[organization.pk])

    return form_page(
        request,
        form,
        title=_("Subscribe %(name)s") % {"name": organization.name},
        lead=_("On behalf of the customer; it starts now, and its month counts from now."),
        crumbs=[_customers_crumb(), _customer_crumb(organization), Crumb(_("Subscribe"))],
        submit=_("Subscribe"),
        save=save,
        done=_("The subscription runs."),
    )


def _subscription(subscription_id: str) -> Subscription:
    rows = Subscription.objects.select_related("organization", "plan")
    return get_object_or_404(rows, pk=subscription_id)


def _subscription_crumbs(subscription: Subscription, label: str) -> list[Crumb]:
    return [_customers_crumb(), _customer_crumb(subscription.organization), Crumb(label)]


@_form_methods
@admin_only
def change(request: HttpRequest, subscription_id: str) -> HttpResponse:
    subscription = _subscription(subscription_id)
    form = ChangeForm(posted(request))

    def save() -> str:
        now = clock.now()
        subscription_change(
            subscription=subscription,
            version=form.cleaned_data["version"],
            carry_over=form.cleaned_data["carry_over"],
            at=_instant(form.cleaned_data["when"], subscription, now),
            actor=person_of(request),
            now=now,
        )
        return reverse("admin_customer", args=[subscription.organization_id])

    return form_page(
        request,
        form,
        title=_("Change plan"),
        lead=_("Closes the running segment and opens the next; billing prorates from there."),
        crumbs=_subscription_crumbs(subscription, _("Change plan")),
        submit=_("Change plan"),
        save=save,
        done=_("The change is noted and on its way to the gateways."),
    )


def _instant(when: str, subscription: Subscription, now: datetime) -> datetime | None:
    if when == "now":
        return soonest_change(now)
    if when == "period_end":
        running = subscription.periods.filter(starts_at__lte=now, ends_at__gt=now).first()
        return running.ends_at if running else None
    return None


@_form_methods
@admin_only
def cancel(request: HttpRequest, subscription_id: str) -> HttpResponse:
    subscription = _subscription(subscription_id)
    form = ReasonForm(posted(request))

    def act() -> str:
        subscription_cancel(
            subscription=subscription,
            reason=form.cleaned_data["reason"],
            actor=person_of(request),
            now=clock.now(),
        )
        return reverse("admin_customer", args=[subscription.organization_id])

    return confirm_page(
        request,
        title=_("Cancel the subscription to %(plan)s?") % {"plan": subscription.plan.name},
        effects=[
            _("It ends with the running billing period; until then nothing changes."),
            _("It can be undone until then."),
        ],
        crumbs=_subscription_crumbs(subscription, _("Cancel")),
        submit=_("Cancel subscription"),
        act=act,
        done=_("Cancelled; it ends with the period."),
        form=form,
    )


@_form_methods
@admin_only
def pause(request: HttpRequest, subscription_id: str) -> HttpResponse:
    subscription = _subscription(subscription_id)
    form = ReasonForm(posted(request))

    def act() -> str:
        subscription_pause(
            subscription=subscription,
            reason=form.cleaned_data["reason"],
            actor=person_of(request),
            now=clock.now(),
        )
        return reverse("admin_customer", args=[subscription.organization_id])

    return confirm_page(
        request,
        title=_("Pause the subscription to %(plan)s?") % {"plan": subscription.plan.name},
        effects=[
            _("Every call gets 403 within two seconds."),
            _("Fees of the paused time are not due."),
        ],
        crumbs=_subscription_crumbs(subscription, _("Pause")),
        submit=_("Pause subscription"),
        act=act,
        done=_("Paused."),
        form=form,
    )


@_form_methods
@admin_only
def undo(request: HttpRequest, subscription_id: str) -> HttpResponse:
    """Take back what is under way: a pause, a cancellation or a planned change."""
    subscription = _subscription(subscription_id)
    service = subscription_change_undo
    title, button = _("Forget the planned change?"), _("Forget the change")
    if subscription.paused_at is not None:
        title, button = _("Resume the subscription?"), _("Resume")
    elif subscription.ends_at is not None:
        service = subscription_cancel_undo
        title, button = _("Let the subscription go on?"), _("Undo the cancellation")

    def act() -> str:
        who: dict[str, Any] = {"actor": person_of(request), "now": clock.now()}
        if subscription.paused_at is not None:
            subscription_resume(subscription=subscription, **who)
        else:
            service(subscription=subscription, **who)
        return reverse("admin_customer", args=[subscription.organization_id])

    return confirm_page(
        request,
        title=title,
        effects=[_("It goes on under the terms it had.")],
        crumbs=_subscription_crumbs(subscription, button),
        submit=button,
        act=act,
        done=_("Done."),
        kind="",
    )
