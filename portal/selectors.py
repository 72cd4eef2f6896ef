"""Reads of the portal's tables."""

from datetime import datetime

from django.db.models import Q, QuerySet

from portal.errors import NotFoundError
from portal.models import Api, Credential, Environment, Organization, PlanVersion


def key_list(*, organization: Organization) -> QuerySet[Credential]:
    """Return an organization's keys, newest first, each with its consumer and successor."""
    rows = Credential.objects.filter(consumer__organization=organization)
    return rows.select_related("consumer", "rotated_to", "created_by").order_by("-created_at")


def key_for_first_call(*, organization: Organization, now: datetime) -> Credential | None:
    """Return the newest test key that works and can be shown."""
    rows = key_list(organization=organization).filter(
        Q(expires_at__isnull=True) | Q(expires_at__gt=now),
        environment=Environment.TEST,
        revoked_at__isnull=True,
    )
    return rows.exclude(sealed_secret="").first()


def offer_list() -> list[PlanVersion]:
    """Return what anybody may subscribe to: the newest version of each public plan, by rank."""
    rows = PlanVersion.objects.select_related("plan").filter(
        published_at__isnull=False, plan__is_public=True, plan__archived_at__isnull=True
    )
    newest = {row.plan_id: row for row in rows.order_by("number")}
    return sorted(newest.values(), key=lambda row: (row.plan.rank, row.plan_id))


def offer_get(*, slug: str) -> PlanVersion:
    """Return the version that a subscriber of a public plan gets today.

    :raises NotFoundError: for an unknown, hidden, archived or unpublished plan alike.
    """
    for row in offer_list():
        if row.plan.slug == slug:
            return row
    raise NotFoundError


def sample_api() -> Api | None:
    """Return the published API whose sample call a newcomer tries, the oldest first."""
    rows = Api.objects.filter(is_published=True).exclude(sample_path="")
    return rows.order_by("created_at", "slug").first()
