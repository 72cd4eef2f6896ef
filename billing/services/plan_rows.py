"""Where each subscription of an organization stands: for home, the plan page and the REST API."""

from dataclasses import dataclass
from datetime import datetime

from billing.services.estimate import RunningBill, period_at, running_bill
from billing.services.quota_use import QuotaUse, quota_use_list
from metering.errors import MeteringUnavailableError
from metering.queries import UsageFilter
from portal.models import (
    BillingPeriod,
    Organization,
    PlanVersion,
    Segment,
    Subscription,
    UsageAlert,
)
from portal.selectors import not_over
from portal.usage import reader


@dataclass(frozen=True, slots=True)
class PlanRow:
    """One subscription now; `bill` and `quotas` are empty where usage cannot be read.

    planned   a change that is scheduled and not yet in force
    alerts    the thresholds that this period has crossed, newest first
    """

    subscription: Subscription
    version: PlanVersion | None
    period: BillingPeriod | None
    bill: RunningBill | None
    quotas: tuple[QuotaUse, ...]
    planned: Segment | None
    alerts: tuple[UsageAlert, ...]
    newest_event_at: datetime | None
    is_known: bool

    @property
    def in_trial(self) -> bool:
        """True where the period that runs began within the trial."""
        trial = self.subscription.trial_ends_at
        return trial is not None and self.period is not None and trial > self.period.starts_at


def plan_rows(*, organization: Organization, at: datetime) -> list[PlanRow]:
    """Return a row per subscription that is not over, oldest first."""
    rows = organization.subscriptions.select_related("plan", "organization").filter(not_over(at))
    return [plan_row(subscription, at) for subscription in rows.order_by("starts_at", "pk")]


def plan_row(subscription: Subscription, at: datetime) -> PlanRow:
    """Return where one subscription stands."""
    segments = list(subscription.segments.select_related("plan_version__plan"))
    begun = [s for s in segments if s.starts_at <= at]
    running = max(begun, key=lambda s: s.starts_at, default=None)
    planned = min(
        (s for s in segments if s.starts_at > at), key=lambda s: s.starts_at, default=None
    )
    version = running.plan_version if running else None
    period = period_at(subscription=subscription, now=at)
    bill, newest, known = None, None, True
    quotas: tuple[QuotaUse, ...] = ()
    if version is not None and period is not None:
        try:
            bill = running_bill(subscription=subscription, reader=reader(), now=at, period=period)
            quotas = quota_use_list(
                subscription=subscription,
                version=version,
                period=period,
                reader=reader(),
                now=at,
                in_period=bill.usage if bill else None,
            )
            newest = _newest(subscription, period, at)
        except MeteringUnavailableError:
            known = False
    return PlanRow(
        subscription=subscription,
        version=version,
        period=period,
        bill=bill,
        quotas=quotas,
        planned=planned,
        alerts=_alerts(subscription, period),
        newest_event_at=newest,
        is_known=known,
    )


def _newest(subscription: Subscription, period: BillingPeriod, at: datetime) -> datetime | None:
    where = UsageFilter(start=period.starts_at, end=at, subscription_id=subscription.pk)
    return reader().usage(where).newest_event_at


def _alerts(subscription: Subscription, period: BillingPeriod | None) -> tuple[UsageAlert, ...]:
    if period is None:
        return ()
    rows = subscription.alerts.filter(
        crossed_at__gte=period.starts_at, crossed_at__lt=period.ends_at
    )
    return tuple(rows.order_by("-crossed_at", "-percent")[:20])
