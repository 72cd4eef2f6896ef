"""Changes of plan: the exact preview, and the confirmation that charges what was previewed.

The preview is the difference that `invoice_advance` bills once the change is in force: the fees
of the period rated with the change minus what is billed already, settled with the same credits
and tax. The confirmation works it out again at the instant that was previewed and refuses when a
figure differs (`ux.md` §3, 7). Undo and cancel are `portal.services.subscriptions`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from django.db import transaction

from billing.errors import StalePreviewError
from billing.locks import organization_lock
from billing.models import InvoiceKind
from billing.services.chain import Billed, Difference, differences, digest
from billing.services.drafts import billed_of_kind, tax_terms
from billing.services.estimate import period_at, whole_period
from billing.services.kinds import takes
from billing.services.quota_use import LimitWarning, limit_warnings
from billing.services.rated import (
    PeriodRating,
    Settlement,
    Stretch,
    period_rate,
    settle,
    stretch_list,
    usage_read,
)
from billing.services.wallet import credit_terms, credit_terms_ahead, grant_list
from gateway.contracts.access_log import format_time
from metering.errors import MeteringUnavailableError
from metering.queries import UsageReader
from portal.errors import ChangeTooSoonError, InputInvalidError, SubscriptionStateError
from portal.models import BillingPeriod, Plan, PlanVersion, Segment, Subscription, User
from portal.selectors import segment_at
from portal.services.periods import periods_open
from portal.services.subscriptions import (
    is_upgrade,
    soonest_change,
    subscription_change,
    subscription_change_check,
)

HOLD: Final = timedelta(seconds=120)
"""How long a previewed instant lies ahead: the time to read the figures and confirm them."""


class Timing(StrEnum):
    NOW = "now"
    PERIOD_END = "period_end"


@dataclass(frozen=True, slots=True)
class NextInvoice:
    """What the invoice at the period's end holds as far as it is known.

    fee_minor, tax_minor   the fees of the following period and their tax: exact
    usage_minor            the metered lines for what is used so far: an estimate; None = unknown
    """

    at: datetime
    fee_minor: int
    tax_minor: int
    usage_minor: int | None


@dataclass(frozen=True, slots=True)
class PlanChangePreview:
    """Everything that a customer agrees to; amounts in minor units of `currency`.

    rows           lines of the invoice that the change makes: credits negative, charges positive
    trial_ends_at  fees start only then: a change before it costs nothing at once
    """

    subscription: Subscription
    from_version: PlanVersion
    to_version: PlanVersion
    timing: Timing
    effective_at: datetime
    period: BillingPeriod
    currency: str
    rows: tuple[Difference, ...]
    settlement: Settlement
    next_invoice: NextInvoice | None
    warnings: tuple[LimitWarning, ...]
    usage_known: bool
    trial_ends_at: datetime | None
    as_of: datetime

    @property
    def due_minor(self) -> int:
        """What is invoiced at once, tax included; negative = credited."""
        return self.settlement.total_minor

    @property
    def digest(self) -> str:
        """The figures and the instant in one word, which the confirmation must bring back."""
        settled, following = self.settlement, self.next_invoice
        return digest(
            {
                "subscription": self.subscription.pk,
                "from": self.from_version.pk,
                "to": self.to_version.pk,
                "timing": self.timing.value,
                "at": format_time(self.effective_at),
                "lines": [[row.line.line_key, row.net_minor] for row in self.rows],
                "credit": settled.credit_minor,
                "tax": settled.tax_minor,
                "due": settled.total_minor,
                "next": [following.fee_minor, following.tax_minor] if following else None,
            }
        )


def default_timing(*, held: Plan, version: PlanVersion) -> Timing:
    """An upgrade is due at once, everything else with the period."""
    return Timing.NOW if is_upgrade(held=held, version=version) else Timing.PERIOD_END


def plan_change_preview(
    *,
    subscription: Subscription,
    version: PlanVersion,
    reader: UsageReader | None,
    now: datetime,
    timing: Timing | None = None,
    at: datetime | None = None,
) -> PlanChangePreview:
    """Work out a change to `version`, exactly; nothing is changed.

    timing   None = the default of the two plans; only an upgrade may be due now
    at       the instant of an earlier preview, for `Timing.NOW`; None = a little ahead
    reader   None = usage cannot be read: the estimate and the warnings are missing then

    :raises ChangeTooSoonError: for an instant that gateways cannot know in time any more.
    :raises PlanNotOfferedError, SubscriptionStateError, SubscriptionOverlapError: as
        `subscription_change` does.
    :raises InputInvalidError: for the plan version in force, or a downgrade that is to be due now.
    """
    period, running = _running(subscription, now=now)
    if running.plan_version_id == version.pk:
        raise InputInvalidError([("plan", "same_plan", "is the current plan")])
    held = running.plan_version.plan
    chosen = timing or default_timing(held=held, version=version)
    if chosen is Timing.NOW and not is_upgrade(held=held, version=version):
        raise InputInvalidError(
            [("timing", "downgrade_now", "a smaller plan starts with the next period")]
        )
    effective_at, chosen = _instant(period, chosen, at=at, now=now)
    subscription_change_check(subscription=subscription, version=version, at=effective_at, now=now)
    planned = Segment(subscription=subscription, plan_version=version, starts_at=effective_at)
    before = stretch_list(subscription=subscription, period=period, now=now)
    after = _with_change(before, planned, period)
    rows = _rows(subscription, period, before, after, at=effective_at)
    use = _usage(reader, subscription, period, after, now=now)
    used, rating = use if use is not None else (None, None)
    return PlanChangePreview(
        subscription=subscription,
        from_version=running.plan_version,
        to_version=version,
        timing=chosen,
        effective_at=effective_at,
        period=period,
        currency=version.currency,
        rows=rows,
        settlement=_settled(subscription, period, rows, after),
        next_invoice=_next_invoice(subscription, period, planned, rating),
        warnings=limit_warnings(version=version, used=used or {}),
        usage_known=used is not None,
        trial_ends_at=subscription.trial_ends_at if _in_trial(subscription, now) else None,
        as_of=now,
    )


def plan_change_confirm(
    *,
    subscription: Subscription,
    version: PlanVersion,
    timing: Timing,
    at: datetime,
    digest: str,
    actor: User | None,
    reader: UsageReader | None,
    now: datetime,
) -> Segment:
    """Plan the change if every previewed figure still holds; again returns the planned segment.

    at, digest   `effective_at` and `digest` of the preview that was agreed to

    :raises StalePreviewError: when a figure or the instant no longer holds; nothing is changed.
    :raises PlanNotOfferedError, SubscriptionStateError, SubscriptionOverlapError: as
        `subscription_change` does.
    """
    with transaction.atomic():
        organization_lock(subscription.organization_id)
        subscription = Subscription.objects.select_related("plan", "organization").get(
            pk=subscription.pk
        )
        done = subscription.segments.filter(starts_at=at, plan_version=version).first()
        if done is not None:
            return done
        try:
            held = plan_change_preview(
                subscription=subscription,
                version=version,
                reader=reader,
                now=now,
                timing=timing,
                at=at,
            )
        except ChangeTooSoonError as error:
            raise StalePreviewError from error
        if held.digest != digest:
            raise StalePreviewError
        return subscription_change(
            subscription=subscription,
            version=version,
            actor=actor,
            now=now,
            at=held.effective_at,
        )


def _running(subscription: Subscription, *, now: datetime) -> tuple[BillingPeriod, Segment]:
    """Return the period and the segment in force.

    :raises SubscriptionStateError: when the subscription has not begun, or is over.
    """
    periods_open(subscription=subscription, now=now)
    period = period_at(subscription=subscription, now=now)
    segment = segment_at(subscription_id=subscription.pk, at=now)
    if period is None or segment is None:
        raise SubscriptionStateError
    return period, segment


def _instant(
    period: BillingPeriod, timing: Timing, *, at: datetime | None, now: datetime
) -> tuple[datetime, Timing]:
    """Return when the change is in force; what would fall behind the period starts the next."""
    if timing is Timing.NOW:
        effective_at = at or soonest_change(now + HOLD)
        if effective_at < period.ends_at:
            return effective_at, timing
    return max(period.ends_at, soonest_change(now)), Timing.PERIOD_END


def _with_change(
    before: Sequence[Stretch], planned: Segment, period: BillingPeriod
) -> tuple[Stretch, ...]:
    """Return the stretches of the period as they are once the change is in force."""
    at = planned.starts_at
    if at >= period.ends_at:
        return tuple(before)
    kept = [replace(s, ends_at=min(s.ends_at, at)) for s in before if s.starts_at < at]
    return (*kept, Stretch(planned, at, period.ends_at))


def _rows(
    subscription: Subscription,
    period: BillingPeriod,
    before: Sequence[Stretch],
    after: Sequence[Stretch],
    *,
    at: datetime,
) -> tuple[Difference, ...]:
    """Return the fees that the change adds and takes back; none while a trial runs."""
    if len(after) == len(before) or _in_trial(subscription, at):
        return ()
    wanted = takes(InvoiceKind.ADVANCE, after)
    was, will = (
        [line for line in _rate(subscription, period, stretches).lines if wanted(line)]
        for stretches in (before, after)
    )
    due = {
        line.line_key: Billed(
            amount_minor=line.amount_minor, discount_minor=line.discount_minor, line=line
        )
        for line in was
    }
    billed = billed_of_kind(period=period, kind=InvoiceKind.ADVANCE, stretches=after, without=None)
    return differences(will, due | billed)


def _rate(
    subscription: Subscription, period: BillingPeriod, stretches: Sequence[Stretch]
) -> PeriodRating:
    return period_rate(subscription=subscription, period=period, stretches=stretches, usage={})


def _in_trial(subscription: Subscription, at: datetime) -> bool:
    return subscription.trial_ends_at is not None and at < subscription.trial_ends_at


def _settled(
    subscription: Subscription,
    period: BillingPeriod,
    rows: Sequence[Difference],
    stretches: Sequence[Stretch],
) -> Settlement:
    currency = stretches[-1].segment.plan_version.currency
    versions = [stretch.segment.plan_version for stretch in stretches]
    credits = [
        *credit_terms(grant_list(subscription=subscription, currency=currency)),
        *credit_terms_ahead(subscription=subscription, versions=versions),
    ]
    return settle(
        currency=currency,
        lines=rows,
        credits=credits,
        tax=tax_terms(subscription.organization, stretches),
        at=period.starts_at,
        until=period.ends_at,
    )


def _usage(
    reader: UsageReader | None,
    subscription: Subscription,
    period: BillingPeriod,
    stretches: Sequence[Stretch],
    *,
    now: datetime,
) -> tuple[dict[str, int], PeriodRating] | None:
    """Return what the period has used and its rating with the change; None = cannot be read."""
    if reader is None:
        return None
    try:
        facts = usage_read(
            reader=reader, subscription=subscription, stretches=stretches, until=now
        )
    except MeteringUnavailableError:
        return None
    rating = period_rate(
        subscription=subscription, period=period, stretches=stretches, usage=facts
    )
    used = whole_period(facts).items()
    return {meter: int(fact.billed + fact.counted) for meter, fact in used}, rating


def _next_invoice(
    subscription: Subscription,
    period: BillingPeriod,
    planned: Segment,
    rating: PeriodRating | None,
) -> NextInvoice | None:
    """Rate the following period without usage, and add the metered lines of this one."""
    following = subscription.periods.filter(starts_at=period.ends_at).first()
    if following is None:
        return None
    stretches = (Stretch(planned, following.starts_at, following.ends_at),)
    wanted = takes(InvoiceKind.ADVANCE, stretches)
    fees = [line for line in _rate(subscription, following, stretches).lines if wanted(line)]
    settled = settle(
        currency=planned.plan_version.currency,
        lines=differences(fees, {}),
        credits=(),
        tax=tax_terms(subscription.organization, stretches),
        at=following.starts_at,
        until=following.ends_at,
    )
    usage = None
    if rating is not None:
        usage = sum(x.amount_minor - x.discount_minor for x in rating.lines if x.meter)
    return NextInvoice(
        at=following.starts_at,
        fee_minor=settled.subtotal_minor - settled.discount_minor,
        tax_minor=settled.tax_minor,
        usage_minor=usage,
    )
