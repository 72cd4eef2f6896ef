"""Reads of the portal's tables."""

from datetime import datetime

from django.db.models import Q, QuerySet

from portal.models import Api, Credential, Environment, Organization


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


def sample_api() -> Api | None:
    """Return the published API whose sample call a newcomer tries, the oldest first."""
    rows = Api.objects.filter(is_published=True).exclude(sample_path="")
    return rows.order_by("created_at", "slug").first()
