"""Reads of the portal's tables."""

from datetime import datetime

from django.db.models import OuterRef, Q, QuerySet, Subquery

from portal.models import (
    Api,
    Credential,
    Environment,
    Organization,
    PlanVersion,
    Route,
    Segment,
    Subscription,
)


def key_list(*, organization: Organization) -> QuerySet[Credential]:
    """Return an organization's keys, newest first, each with its consumer and successor."""
    rows = Credential.objects.filter(consumer__organization=organization)
    return rows.select_related("consumer", "rotated_to", "created_by").order_by("-created_at")


def key_works(wall: datetime) -> Q:
    """Return the condition of keys that have neither been revoked nor run out by machine time."""
    return Q(revoked_at__isnull=True) & (Q(expires_at__isnull=True) | Q(expires_at__gt=wall))


def key_for_first_call(*, organization: Organization, wall: datetime) -> Credential | None:
    """Return the newest test key that works by the machine's time and can be shown."""
    rows = key_list(organization=organization).filter(
        key_works(wall), environment=Environment.TEST, consumer__is_active=True
    )
    return rows.exclude(sealed_secret="").first()


def sample_api() -> Api | None:
    """Return the published API whose sample call a newcomer tries, the oldest first."""
    rows = Api.objects.filter(is_published=True).exclude(sample_path="")
    return rows.order_by("created_at", "slug").first()


def scopes_required() -> dict[str, list[str]]:
    """Return, by scope, the routes of published APIs that require it, like `POST /maps`.

    They are what a key may be given, whoever's it is: its test keys call every published API, and
    a live key may be made before the plan.
    """
    rows = Route.objects.filter(api__is_published=True, is_public=False)
    found: dict[str, list[str]] = {}
    columns = rows.order_by("path", "pk").values_list("methods", "path", "scopes")
    for methods, path, scopes in columns:
        for scope in scopes:
            found.setdefault(scope, []).append(f"{'/'.join(methods)} {path}".strip())
    return dict(sorted(found.items()))


def customer_search(text: str) -> QuerySet[Organization]:
    """Find organizations by name, member's mail, key prefix or last 4, or any id of theirs."""
    rows = Organization.objects.order_by("name", "pk")
    if not text:
        return rows
    found = (
        Q(pk=text)
        | Q(name__icontains=text)
        | Q(slug__icontains=text)
        | Q(billing_email__icontains=text)
        | Q(memberships__user__email__icontains=text)
        | Q(consumers__pk=text)
        | Q(consumers__username__iexact=text)
        | Q(consumers__credentials__pk=text)
        | Q(consumers__credentials__prefix__startswith=text)
        | Q(consumers__credentials__last4=text)
        | Q(subscriptions__pk=text)
    )
    return rows.filter(found).distinct()


def not_over(at: datetime) -> Q:
    """Return the condition of subscriptions (and segments) that end after `at`, or never."""
    return Q(ends_at__isnull=True) | Q(ends_at__gt=at)


def segment_at(*, subscription_id: str, at: datetime) -> Segment | None:
    """Return the segment in force at an instant, with its plan version; None before the first."""
    rows = Segment.objects.select_related("plan_version__plan")
    begun = rows.filter(subscription_id=subscription_id, starts_at__lte=at)
    return begun.order_by("-starts_at").first()


def subscription_phase(subscription: Subscription, *, now: datetime) -> str:
    """Return where a subscription is: ended, paused, cancelled, to_come, in_trial or active."""
    if subscription.ends_at is not None and subscription.ends_at <= now:
        return "ended"
    if subscription.paused_at is not None:
        return "paused"
    if subscription.ends_at is not None:
        return "cancelled"
    if subscription.starts_at > now:
        return "to_come"
    trial = subscription.trial_ends_at
    return "in_trial" if trial is not None and trial > now else "active"


def offer_list() -> QuerySet[PlanVersion]:
    """Return the newest published version of every public plan, in the catalogue's order."""
    newest = PlanVersion.objects.filter(plan=OuterRef("plan"), published_at__isnull=False)
    rows = PlanVersion.objects.filter(
        plan__is_public=True,
        plan__archived_at__isnull=True,
        pk=Subquery(newest.order_by("-number").values("pk")[:1]),
    )
    return rows.select_related("plan").prefetch_related("plan__apis").order_by("plan__rank", "pk")
