"""Who is on which plan version, since when: segments are closed and opened here, nothing more.

Billing derives every amount from the segments. A change takes effect at least two seconds ahead,
so that every gateway knows of it before the first call that it decides (`architecture.md` §3).
The organization's row is locked while overlaps are checked, so that two subscriptions of the same
API cannot slip in side by side.
"""

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

from django.db import transaction

from portal.core.plan_terms import clashing_meters
from portal.errors import (
    ChangeTooSoonError,
    InputInvalidError,
    PlanNotOfferedError,
    SubscriptionOverlapError,
    SubscriptionStateError,
)
from portal.models import (
    Organization,
    Plan,
    PlanVersion,
    Segment,
    Subscription,
    User,
)
from portal.selectors import not_over, segment_at
from portal.services.audit import audit_record
from portal.services.periods import periods_open
from portal.snapshots import snapshot_touch

LEAD: Final = timedelta(seconds=2)
_SECOND: Final = timedelta(seconds=1)


def soonest_change(now: datetime) -> datetime:
    """Return the first whole second that is far enough ahead for every gateway to know."""
    earliest = now + LEAD
    whole = earliest.replace(microsecond=0)
    return whole if whole == earliest else whole + _SECOND


def subscription_create(
    *,
    organization: Organization,
    version: PlanVersion,
    actor: User | None,
    now: datetime,
    starts_at: datetime | None = None,
) -> Subscription:
    """Put an organization on a plan version, from now or a later instant on.

    The billing anchor is the start; the trial of the version is given once per organization.

    :raises PlanNotOfferedError: for a draft version or an archived plan.
    :raises SubscriptionOverlapError: when another subscription covers one of the plan's APIs.
    :raises InputInvalidError: for a start in the past or another currency than the organization's.
    """
    start = (starts_at or now).replace(microsecond=0)
    if start < now.replace(microsecond=0):
        raise InputInvalidError([("starts_at", "in_the_past", "must not be in the past")])
    _check_offered(version)
    with transaction.atomic():
        organization = Organization.objects.select_for_update().get(pk=organization.pk)
        _check_currency(organization, version)
        _check_overlap(organization, version, start=start)
        subscription = Subscription.objects.create(
            organization=organization,
            plan=version.plan,
            starts_at=start,
            billing_anchor=start,
            trial_ends_at=trial_end(organization=organization, version=version, start=start),
            created_at=now,
        )
        Segment.objects.create(subscription=subscription, plan_version=version, starts_at=start)
        periods_open(subscription=subscription, now=now)
        _record(subscription, "subscription.create", actor, now, {"plan_version": version.pk})
    return subscription


def trial_end(
    *, organization: Organization, version: PlanVersion, start: datetime
) -> datetime | None:
    """Return the end of the trial that a start would have; a trial is given once."""
    had_one = organization.subscriptions.filter(trial_ends_at__isnull=False).exists()
    return (
        start + timedelta(days=version.trial_days) if version.trial_days and not had_one else None
    )


def subscription_create_check(
    *, organization: Organization, version: PlanVersion, now: datetime
) -> None:
    """Refuse what `subscription_create` would refuse for a start now; changes nothing.

    :raises PlanNotOfferedError, SubscriptionOverlapError: as `subscription_create` says.
    :raises InputInvalidError: for another currency than the organization's.
    """
    _check_offered(version)
    _refuse_currency(organization, version)
    _check_overlap(organization, version, start=now)


def _check_offered(version: PlanVersion) -> None:
    if version.published_at is None or version.plan.archived_at is not None:
        raise PlanNotOfferedError


def _check_currency(organization: Organization, version: PlanVersion) -> None:
    """Keep one currency per organization; the first subscription chooses it."""
    _refuse_currency(organization, version)
    if organization.currency != version.currency:
        organization.currency = version.currency
        organization.save(update_fields=["currency"])


def _refuse_currency(organization: Organization, version: PlanVersion) -> None:
    if organization.currency != version.currency and organization.subscriptions.exists():
        message = f"must be {organization.currency}, as the organization's other subscriptions"
        raise InputInvalidError([("version", "mixed_currency", message)])


def _check_overlap(
    organization: Organization,
    version: PlanVersion,
    *,
    start: datetime,
    own: Subscription | None = None,
) -> None:
    """Refuse when, from `start` on, another subscription covers an API of the version's plan."""
    others = Segment.objects.filter(
        not_over(start),
        subscription__organization=organization,
        plan_version__plan__apis__in=version.plan.apis.all(),
    )
    if own is not None:
        others = others.exclude(subscription=own)
    paused = Subscription.objects.filter(
        not_over(start),
        organization=organization,
        paused_at__isnull=False,
        plan__apis__in=version.plan.apis.all(),
    ).exclude(pk=own.pk if own else "")
    if others.exists() or paused.exists():
        raise SubscriptionOverlapError


def plan_in_force(*, subscription: Subscription, now: datetime) -> Plan:
    """Return the plan by the segments; `Subscription.plan` follows them with the next scan."""
    running = segment_at(subscription_id=subscription.pk, at=now)
    return running.plan_version.plan if running else subscription.plan


def is_upgrade(*, held: Plan, version: PlanVersion) -> bool:
    """Say whether the version's plan ranks above the one in force: a change is due at once."""
    return version.plan.rank > held.rank


def subscription_change_check(
    *, subscription: Subscription, version: PlanVersion, at: datetime, now: datetime
) -> None:
    """Refuse a change that `subscription_change` would refuse; changes nothing.

    :raises ChangeTooSoonError, PlanNotOfferedError, SubscriptionStateError,
        SubscriptionOverlapError: as `subscription_change` says.
    :raises InputInvalidError: for another currency than the organization's, and within a period
        that the two plans together could not be billed for.
    """
    _check_offered(version)
    _refuse_currency(subscription.organization, version)
    if subscription.ends_at is not None or subscription.paused_at is not None:
        raise SubscriptionStateError
    if at < now + LEAD:
        raise ChangeTooSoonError
    _check_overlap(subscription.organization, version, start=at, own=subscription)
    _check_usage_kinds(subscription, version, at=at)


def _check_usage_kinds(subscription: Subscription, version: PlanVersion, *, at: datetime) -> None:
    """Refuse a change within a period whose usage neither plan alone could read to its end."""
    period = subscription.periods.filter(starts_at__lt=at, ends_at__gt=at).first()
    if period is None:
        return
    held = Segment.objects.filter(
        not_over(period.starts_at), subscription=subscription, starts_at__lt=at
    ).select_related("plan_version")
    prices = [
        (price.get("meter", ""), price["model"])
        for terms in (version.terms, *(segment.plan_version.terms for segment in held))
        for price in terms.get("prices", [])
    ]
    if clashing_meters(prices):
        message = "measures its usage in another way: it can start with the next period alone"
        raise InputInvalidError([("plan", "usage_kind", message)])


def subscription_change(
    *,
    subscription: Subscription,
    version: PlanVersion,
    actor: User | None,
    now: datetime,
    at: datetime | None = None,
    carry_over: bool = True,
) -> Segment:
    """Close the running segment at `at` and open the next; a change planned before is replaced.

    at          None = an upgrade as soon as gateways can know, anything else at the period's end
    carry_over  usage of the period so far counts on under the new terms

    :raises ChangeTooSoonError: for an instant less than two seconds ahead.
    :raises PlanNotOfferedError: for a draft version or an archived plan.
    :raises SubscriptionStateError: when it is cancelled, paused or ended.
    :raises SubscriptionOverlapError: when the new plan's APIs are covered elsewhere.
    """
    with transaction.atomic():
        subscription = _locked(subscription)
        upgrade = is_upgrade(
            held=plan_in_force(subscription=subscription, now=now), version=version
        )
        at = at or (soonest_change(now) if upgrade else _period_end(subscription, now=now))
        subscription_change_check(subscription=subscription, version=version, at=at, now=now)
        running = _drop_planned(subscription, now=now)
        if at <= running.starts_at:
            raise ChangeTooSoonError
        Segment.objects.filter(pk=running.pk).update(ends_at=at)
        opened = Segment.objects.create(
            subscription=subscription, plan_version=version, starts_at=at, carry_over=carry_over
        )
        _record(
            subscription,
            "subscription.change",
            actor,
            now,
            {"plan_version": version.pk, "at": at, "carry_over": carry_over},
        )
    return opened


def subscription_change_undo(
    *, subscription: Subscription, actor: User | None, now: datetime
) -> None:
    """Forget a change that is planned and not yet in force.

    :raises SubscriptionStateError: when none is planned, or the subscription is cancelled.
    """
    with transaction.atomic():
        subscription = _locked(subscription)
        if subscription.ends_at is not None or not _is_change_planned(subscription, now=now):
            raise SubscriptionStateError
        _drop_planned(subscription, now=now)
        _record(subscription, "subscription.change_undo", actor, now)


def subscription_cancel(
    *,
    subscription: Subscription,
    actor: User | None,
    now: datetime,
    reason: str = "",
    at_once: bool = False,
) -> datetime:
    """End the subscription with its period (or at once); return the instant.

    :raises SubscriptionStateError: when it is cancelled or ended already.
    """
    with transaction.atomic():
        subscription = _locked(subscription)
        if subscription.ends_at is not None:
            raise SubscriptionStateError
        ends_at = soonest_change(now) if at_once else _period_end(subscription, now=now)
        ends_at = max(ends_at, subscription.starts_at)
        if subscription.paused_at is None:
            running = _drop_planned(subscription, now=now)
            Segment.objects.filter(pk=running.pk).update(ends_at=ends_at)
        Subscription.objects.filter(pk=subscription.pk).update(ends_at=ends_at)
        _record(subscription, "subscription.cancel", actor, now, {"at": ends_at}, reason=reason)
    return ends_at


def subscription_cancel_undo(
    *, subscription: Subscription, actor: User | None, now: datetime
) -> None:
    """Let a cancelled subscription go on, while it has not ended.

    :raises SubscriptionStateError: when it is not cancelled, or has ended.
    """
    with transaction.atomic():
        subscription = _locked(subscription)
        if subscription.ends_at is None or subscription.ends_at <= now:
            raise SubscriptionStateError
        if subscription.paused_at is None:
            last = subscription.segments.select_related("plan_version__plan").latest("starts_at")
            _check_overlap(
                subscription.organization,
                last.plan_version,
                start=subscription.ends_at,
                own=subscription,
            )
            Segment.objects.filter(pk=last.pk).update(ends_at=None)
        Subscription.objects.filter(pk=subscription.pk).update(ends_at=None)
        subscription.ends_at = None
        periods_open(subscription=subscription, now=now)
        _record(subscription, "subscription.cancel_undo", actor, now)


def subscription_pause(
    *, subscription: Subscription, actor: User | None, now: datetime, reason: str = ""
) -> datetime:
    """Close the running segment: while paused nothing is let through and nothing is due.

    :raises SubscriptionStateError: when it is cancelled, paused, ended or not yet running.
    """
    with transaction.atomic():
        subscription = _locked(subscription)
        stopped = subscription.ends_at is not None or subscription.paused_at is not None
        if stopped or subscription.starts_at > now:
            raise SubscriptionStateError
        at = soonest_change(now)
        running = _drop_planned(subscription, now=now)
        Segment.objects.filter(pk=running.pk).update(ends_at=at)
        Subscription.objects.filter(pk=subscription.pk).update(paused_at=at)
        _record(subscription, "subscription.pause", actor, now, {"at": at}, reason=reason)
    return at


def subscription_resume(
    *, subscription: Subscription, actor: User | None, now: datetime
) -> Segment:
    """Open a segment on the plan version that was paused.

    :raises SubscriptionStateError: when it is not paused, or has ended.
    """
    with transaction.atomic():
        subscription = _locked(subscription)
        ended = subscription.ends_at is not None
        if subscription.paused_at is None or ended or subscription.paused_at > now:
            raise SubscriptionStateError
        last = subscription.segments.latest("starts_at")
        opened = Segment.objects.create(
            subscription=subscription,
            plan_version_id=last.plan_version_id,
            starts_at=soonest_change(now),
        )
        Subscription.objects.filter(pk=subscription.pk).update(paused_at=None)
        _record(subscription, "subscription.resume", actor, now)
    return opened


def _locked(subscription: Subscription) -> Subscription:
    """Lock the organization, then read the subscription as it is now."""
    Organization.objects.select_for_update().get(pk=subscription.organization_id)
    return Subscription.objects.select_related("plan", "organization").get(pk=subscription.pk)


def _drop_planned(subscription: Subscription, *, now: datetime) -> Segment:
    """Delete planned changes; return the running segment, open.

    The first segment and one that was resumed run from when they are opened, though they begin a
    little later: what lies before them is no service, and stays so.
    """
    segments = list(subscription.segments.order_by("starts_at"))
    running = segments[0]
    for before, segment in pairwise(segments):
        if segment.starts_at <= now or segment.starts_at != before.ends_at:
            running = segment
    planned = [segment.pk for segment in segments if segment.starts_at > running.starts_at]
    Segment.objects.filter(pk__in=planned).delete()
    Segment.objects.filter(pk=running.pk).update(ends_at=None)
    return running


def _is_change_planned(subscription: Subscription, *, now: datetime) -> bool:
    ahead = list(
        subscription.segments.filter(starts_at__gt=now).values_list("starts_at", flat=True)
    )
    return subscription.segments.filter(ends_at__in=ahead).exists()


def _period_end(subscription: Subscription, *, now: datetime) -> datetime:
    """Return the end of the stored period that runs now, or of the first when it is to come.

    :raises SubscriptionStateError: when the subscription is over and no period runs any more.
    """
    periods_open(subscription=subscription, now=now)
    ends_at: datetime | None = (
        subscription.periods.filter(ends_at__gt=now)
        .order_by("starts_at")
        .values_list("ends_at", flat=True)
        .first()
    )
    if ends_at is None:
        raise SubscriptionStateError
    return max(ends_at, soonest_change(now))


def _record(
    subscription: Subscription,
    action: str,
    actor: User | None,
    now: datetime,
    after: object = None,
    *,
    reason: str = "",
) -> None:
    audit_record(
        actor=actor,
        action=action,
        target=subscription.pk,
        organization=subscription.organization,
        after=after,
        reason=reason,
        now=now,
    )
    snapshot_touch()
