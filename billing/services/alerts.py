"""Quota alerts: what the gateway saw crossed becomes one row and one mail each.

A threshold is a percentage of one quota in one window; after an upgrade the larger quota's own
percentages are crossed anew. A crossing that is found only after its window has ended is kept
for the page, but nobody is written to about it.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from billing.services.billing_mail import app_url, billing_mail_send, minute_text
from billing.services.quota_use import FULL_PERCENT, limit_of
from gateway.contracts.snapshot import WindowKind
from metering.queries import Threshold, UsageReader
from portal.models import Subscription, UsageAlert
from portal.queue import enqueue_on_commit
from portal.selectors import segment_at

LOOK_BACK: Final = timedelta(days=40)
"""Longer than a period: a sandbox may step over weeks between two scans."""
_LENGTHS: Final = {WindowKind.HOUR: timedelta(hours=1), WindowKind.DAY: timedelta(days=1)}


def alerts_take(*, reader: UsageReader, now: datetime) -> int:
    """Store crossings that are not stored yet and enqueue their notices; return how many."""
    fresh = 0
    known = set(Subscription.objects.values_list("pk", flat=True))
    for crossing in reader.thresholds(since=now - LOOK_BACK):
        if crossing.subscription_id not in known:
            continue
        alert, created = UsageAlert.objects.get_or_create(
            subscription_id=crossing.subscription_id,
            meter=crossing.meter,
            window_start=crossing.window_start,
            percent=crossing.percent,
            quota=_quota_of(crossing),
            defaults={"crossed_at": crossing.crossed_at, "window_end": crossing.window_end},
        )
        if created:
            enqueue_on_commit("portal.alert_notify", alert_id=alert.pk)
            fresh += 1
    return fresh


def _quota_of(crossing: Threshold) -> int:
    """Return the allowance that was in force when its percentage was crossed; 0 = unknown."""
    entry = _entry_of(crossing)
    return int(entry["quota"]) if entry else 0


def _entry_of(crossing: Threshold | UsageAlert) -> Mapping[str, Any] | None:
    """Return the quota that was in force then, as the plan's limits write it."""
    segment = segment_at(subscription_id=crossing.subscription_id, at=crossing.crossed_at)
    quotas = segment.plan_version.limits.get("quotas", []) if segment else []
    mine = [quota for quota in quotas if quota["meter"] == crossing.meter]
    end = crossing.window_end
    length = end - crossing.window_start if end else None
    return next((quota for quota in mine if _fits(quota.get("window", ""), length)), None)


def _fits(window: str, length: timedelta | None) -> bool:
    """Tell quotas of one meter apart by the length of their windows."""
    kind = WindowKind(window or WindowKind.BILLING_PERIOD)
    if kind in _LENGTHS:
        return length == _LENGTHS[kind]
    return length not in _LENGTHS.values()


def alert_notify(*, alert_id: int, now: datetime) -> bool:
    """Mail one alert; the claim is the stored instant, so that one mail leaves per alert.

    False where it was claimed before, or its window is over and there is nothing to act on.
    """
    claimed = UsageAlert.objects.filter(pk=alert_id, notified_at__isnull=True).exclude(
        window_end__lte=now
    )
    if claimed.update(notified_at=now) != 1:
        return False
    alert = UsageAlert.objects.select_related("subscription__organization", "subscription__plan")
    row = alert.get(pk=alert_id)
    organization, plan = row.subscription.organization, row.subscription.plan
    until = f" It starts anew on {minute_text(row.window_end)}." if row.window_end else ""
    share = f"{row.percent} %"
    if row.quota:
        reached = -(-row.quota * row.percent // FULL_PERCENT)
        share = f"{row.percent} % ({reached:,} of {row.quota:,})"
    billing_mail_send(
        organization=organization,
        subject=f"{row.percent} % of your {row.meter} quota is used",
        text=(
            f"{organization.name} has used {share} of the {row.meter} quota of {plan.name} since "
            f"{minute_text(row.window_start)}; the mark was passed at "
            f"{minute_text(row.crossed_at)}.{until}{_beyond_text(row)}\n\n"
            f"See and change the plan: {app_url(organization, 'plan')}"
        ),
    )
    return True


def _beyond_text(row: UsageAlert) -> str:
    """Say what happens to calls beyond the quota; nothing where it is not known any more."""
    entry = _entry_of(row)
    if entry is None:
        return ""
    limit = limit_of(entry)
    if limit is None:
        return " Calls beyond the quota go on and are priced as your plan says."
    return f" From {limit:,} on, live calls are refused with 429 until then."


def notify_due_enqueue(*, now: datetime) -> int:
    """Enqueue alerts whose notice never left and still says something."""
    rows = UsageAlert.objects.filter(notified_at__isnull=True).exclude(window_end__lte=now)
    ids = list(rows.order_by("crossed_at", "pk").values_list("pk", flat=True)[:200])
    for alert_id in ids:
        enqueue_on_commit("portal.alert_notify", alert_id=alert_id)
    return len(ids)
