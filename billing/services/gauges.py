"""What of its quotas a subscription has used, from the same usage as its running bill."""

from datetime import datetime
from typing import Any

from billing.services.estimate import RunningBill
from portal.models import Organization, PlanVersion, Subscription


def active_subscriptions(*, organization: Organization, at: datetime) -> list[Subscription]:
    """Return the subscriptions in force at an instant."""
    rows = organization.subscriptions.select_related("plan", "organization")
    return [row for row in rows.order_by("starts_at") if row.ends_at is None or row.ends_at > at]


def plan_version_at(*, subscription: Subscription, at: datetime) -> PlanVersion | None:
    segment = (
        subscription.segments.select_related("plan_version__plan")
        .filter(starts_at__lte=at)
        .order_by("-starts_at")
        .first()
    )
    return segment.plan_version if segment else None


def gauges_of(*, version: PlanVersion | None, bill: RunningBill | None) -> list[dict[str, Any]]:
    """Return a gauge per quota: used (billed + counted), limit, share in whole percent."""
    if version is None or bill is None:
        return []
    rows = []
    for quota in version.limits.get("quotas", []):
        fact = bill.usage.get(quota["meter"])
        used = int(fact.billed + fact.counted) if fact else 0
        limit = int(quota["quota"])
        percent = used * 100 // limit if limit else 0
        rows.append(
            {
                "meter": quota["meter"],
                "used": used,
                "limit": limit,
                "remaining": max(0, limit - used),
                "percent": percent,
                "bar": min(percent, 100),
                "resets_at": bill.period.ends_at,
            }
        )
    return rows
