"""The product's clock: real, or the sandbox's wall clock plus a stored offset.

Only edges (views, tasks, webhooks, commands) ask it, and pass `now` down. `wall_now` is for what
stays on the wall clock: freshness of credentials and sessions, exchange with Stripe.
"""

from datetime import UTC, datetime, timedelta

from django.conf import settings

from portal.models import ProductClock


def wall_now() -> datetime:
    """Return the machine's time, aware UTC."""
    return datetime.now(UTC)


def offset() -> timedelta:
    """Return product time minus wall time; zero under the real clock."""
    if not settings.ENV.sandbox:
        return timedelta(0)
    row = ProductClock.objects.filter(pk=1).first()
    return timedelta(microseconds=row.offset_us if row else 0)


def now() -> datetime:
    """Return the product's time, aware UTC."""
    return wall_now() + offset()
