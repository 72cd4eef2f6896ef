"""Quota alerts: what the gateway saw crossed becomes one row and one mail each."""

from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.core.mail import send_mail

from billing.services.dunning import billing_addresses
from metering.queries import UsageReader
from portal.models import Subscription, UsageAlert
from portal.queue import enqueue_on_commit

LOOK_BACK: Final = timedelta(days=2)


def alerts_take(*, reader: UsageReader, now: datetime) -> int:
    """Store crossings that are not stored yet and enqueue their notices."""
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
            defaults={"crossed_at": crossing.crossed_at},
        )
        if created:
            enqueue_on_commit("portal.alert_notify", alert_id=alert.pk)
            fresh += 1
    return fresh


def alert_notify(*, alert_id: int, now: datetime) -> bool:
    """Mail one alert; the claim is the stored instant, so that one mail leaves per alert."""
    claimed = UsageAlert.objects.filter(pk=alert_id, notified_at__isnull=True)
    if claimed.update(notified_at=now) != 1:
        return False
    alert = UsageAlert.objects.select_related("subscription__organization", "subscription__plan")
    row = alert.get(pk=alert_id)
    organization, plan = row.subscription.organization, row.subscription.plan
    send_mail(
        subject=f"{row.percent} % of your {row.meter} quota is used",
        message=(
            f"{organization.name} has used {row.percent} % of the {row.meter} quota of "
            f"{plan.name} in the window that began on {row.window_start:%Y-%m-%d %H:%M} UTC "
            f"(crossed at {row.crossed_at:%Y-%m-%d %H:%M:%S} UTC).\n\n"
            f"See and change the plan: {settings.ENV.portal_url}/app/{organization.slug}/plan\n"
        ),
        from_email=None,
        recipient_list=billing_addresses(organization=organization),
    )
    return True


def notify_due_enqueue() -> int:
    """Enqueue alerts whose notice never left."""
    ids = list(
        UsageAlert.objects.filter(notified_at__isnull=True).values_list("pk", flat=True)[:200]
    )
    for alert_id in ids:
        enqueue_on_commit("portal.alert_notify", alert_id=alert_id)
    return len(ids)
