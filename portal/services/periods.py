"""What time brings to subscriptions: stored billing periods, and the plan that they are on."""

from datetime import datetime
from typing import Final

from django.db import transaction
from django.db.models import Count, F, OuterRef, Q, Subquery

from portal.core.periods import period_number, period_of
from portal.models import BillingPeriod, Segment, Subscription
from portal.selectors import not_over
from portal.snapshots import snapshot_touch

PERIODS_AHEAD: Final = 3  # the current one and two more, so that two are left when one ends


def periods_open(*, subscription: Subscription, now: datetime) -> int:
    """Store every period up to two after the current one; return how many are new.

    Boundaries are computed here once, from the anchor, and never again (ADR-0003).
    """
    current = period_number(max(now, subscription.starts_at), anchor=subscription.billing_anchor)
    held = set(subscription.periods.values_list("number", flat=True))
    rows = []
    for number in range(current + PERIODS_AHEAD):
        period = period_of(number, anchor=subscription.billing_anchor)
        beyond = subscription.ends_at is not None and period.start >= subscription.ends_at
        if number not in held and not beyond:
            rows.append(
                BillingPeriod(
                    subscription=subscription,
                    number=number,
                    starts_at=period.start,
                    ends_at=period.end,
                )
            )
    BillingPeriod.objects.bulk_create(rows, ignore_conflicts=True)
    return len(rows)


def periods_open_due(*, now: datetime) -> int:
    """Open periods of every subscription that is short of them; return how many were opened.

    Also lets `Subscription.plan` follow a change that has come into force.
    """
    running = Subscription.objects.filter(not_over(now))
    short = running.annotate(ahead=Count("periods", filter=Q(periods__ends_at__gt=now))).filter(
        ahead__lt=PERIODS_AHEAD
    )
    opened = 0
    with transaction.atomic():
        for subscription in short.order_by("pk"):
            opened += periods_open(subscription=subscription, now=now)
        followed = _plans_follow(now=now)
        if opened or followed:
            snapshot_touch()
    return opened


def _plans_follow(*, now: datetime) -> int:
    in_force = (
        Segment.objects.filter(subscription=OuterRef("pk"), starts_at__lte=now)
        .order_by("-starts_at")
        .values("plan_version__plan")[:1]
    )
    behind = Subscription.objects.annotate(held=Subquery(in_force)).exclude(plan=F("held"))
    moved = list(behind.filter(held__isnull=False).values_list("pk", "held"))
    for pk, plan in moved:
        Subscription.objects.filter(pk=pk).update(plan=plan)
    return len(moved)
