"""Subscriptions: segments, periods, planned changes, pauses, and what is refused."""

from datetime import UTC, datetime, timedelta

import pytest

from portal.errors import (
    ChangeTooSoonError,
    InputInvalidError,
    PlanNotOfferedError,
    SubscriptionOverlapError,
    SubscriptionStateError,
)
from portal.models import Organization, PlanVersion, Subscription
from portal.services import subscriptions as service
from portal.services.periods import periods_open_due
from tests.factories.provider import NOW, make_api, make_organization, make_plan_version

pytestmark = pytest.mark.django_db

START = datetime(2026, 1, 31, tzinfo=UTC)


def make_plans() -> tuple[PlanVersion, PlanVersion]:
    """Return a small and a large plan's version over the same API."""
    api = make_api()
    small, large = make_plan_version(api), make_plan_version(api)
    large.plan.rank = 10
    large.plan.save(update_fields=["rank"])
    return small, large


def subscribe(
    version: PlanVersion, *, organization: Organization | None = None, now: datetime = START
) -> Subscription:
    return service.subscription_create(
        organization=organization or make_organization(), version=version, actor=None, now=now
    )


def stretches(subscription: Subscription) -> list[tuple[str, datetime, datetime | None]]:
    rows = subscription.segments.order_by("starts_at")
    return [(s.plan_version_id, s.starts_at, s.ends_at) for s in rows]


def test_a_subscription_opens_a_segment_and_periods_from_its_anchor() -> None:
    version = make_plan_version(make_api(), trial_days=14)
    subscription = subscribe(version)
    assert stretches(subscription) == [(version.pk, START, None)]
    assert subscription.trial_ends_at == START + timedelta(days=14)
    ends = subscription.periods.order_by("number").values_list("ends_at", flat=True)
    assert [f"{end:%m-%d}" for end in ends] == ["02-28", "03-31", "04-30"]


def test_a_trial_is_given_once() -> None:
    organization = make_organization()
    first, second = (
        subscribe(make_plan_version(make_api(), trial_days=14), organization=organization)
        for _ in range(2)
    )
    assert first.trial_ends_at is not None
    assert second.trial_ends_at is None


def test_two_subscriptions_never_cover_the_same_api() -> None:
    small, large = make_plans()
    organization = make_organization()
    first = subscribe(small, organization=organization)
    with pytest.raises(SubscriptionOverlapError):
        subscribe(large, organization=organization)
    subscribe(large)  # another organization
    ends_at = service.subscription_cancel(subscription=first, actor=None, now=NOW)
    with pytest.raises(SubscriptionOverlapError):
        subscribe(large, organization=organization, now=NOW)
    later = service.subscription_create(
        organization=organization, version=large, actor=None, now=NOW, starts_at=ends_at
    )
    with pytest.raises(SubscriptionOverlapError):
        service.subscription_cancel_undo(subscription=first, actor=None, now=NOW)
    assert later.starts_at == ends_at


def test_a_change_onto_apis_of_another_subscription_is_refused() -> None:
    maps, mail = make_api(), make_api()
    organization = make_organization()
    on_maps = subscribe(make_plan_version(maps), organization=organization)
    subscribe(make_plan_version(mail), organization=organization)
    with pytest.raises(SubscriptionOverlapError):
        service.subscription_change(
            subscription=on_maps, version=make_plan_version(maps, mail), actor=None, now=NOW
        )


def test_an_upgrade_is_due_at_once_and_counts_on() -> None:
    small, large = make_plans()
    subscription = subscribe(small)
    now = NOW + timedelta(microseconds=1)
    segment = service.subscription_change(
        subscription=subscription, version=large, actor=None, now=now
    )
    at = NOW + timedelta(seconds=3)  # the first whole second two seconds ahead
    assert stretches(subscription) == [(small.pk, START, at), (large.pk, at, None)]
    assert segment.carry_over
    periods_open_due(now=at)
    subscription.refresh_from_db()
    assert subscription.plan == large.plan


def test_a_downgrade_waits_for_the_periods_end_and_can_be_replaced_or_undone() -> None:
    small, large = make_plans()
    subscription = subscribe(large)
    end = datetime(2026, 3, 31, tzinfo=UTC)
    service.subscription_change(subscription=subscription, version=small, actor=None, now=NOW)
    planned = [(large.pk, START, end), (small.pk, end, None)]
    assert stretches(subscription) == planned
    service.subscription_change(subscription=subscription, version=small, actor=None, now=NOW)
    assert stretches(subscription) == planned
    periods_open_due(now=NOW)
    subscription.refresh_from_db()
    assert subscription.plan == large.plan
    service.subscription_change_undo(subscription=subscription, actor=None, now=NOW)
    assert stretches(subscription) == [(large.pk, START, None)]
    with pytest.raises(SubscriptionStateError):
        service.subscription_change_undo(subscription=subscription, actor=None, now=NOW)


@pytest.mark.parametrize("ahead_s", [-5, 0, 1])
def test_a_change_is_never_closer_than_two_seconds(ahead_s: int) -> None:
    small, large = make_plans()
    subscription = subscribe(small)
    with pytest.raises(ChangeTooSoonError):
        service.subscription_change(
            subscription=subscription,
            version=large,
            actor=None,
            now=NOW,
            at=NOW + timedelta(seconds=ahead_s),
        )
    assert len(stretches(subscription)) == 1


def test_a_cancellation_ends_with_the_period_and_can_be_undone() -> None:
    small, large = make_plans()
    subscription = subscribe(small)
    end = service.subscription_cancel(subscription=subscription, actor=None, now=NOW)
    assert end == datetime(2026, 3, 31, tzinfo=UTC)
    assert stretches(subscription) == [(small.pk, START, end)]
    with pytest.raises(SubscriptionStateError):
        service.subscription_change(subscription=subscription, version=large, actor=None, now=NOW)
    with pytest.raises(SubscriptionStateError):
        service.subscription_cancel(subscription=subscription, actor=None, now=NOW)
    service.subscription_cancel_undo(subscription=subscription, actor=None, now=NOW)
    assert stretches(subscription) == [(small.pk, START, None)]
    service.subscription_cancel(subscription=subscription, actor=None, now=NOW)
    with pytest.raises(SubscriptionStateError):
        service.subscription_cancel_undo(subscription=subscription, actor=None, now=end)


def test_a_pause_closes_the_segment_and_a_resumption_opens_another() -> None:
    small, large = make_plans()
    subscription = subscribe(small)
    at = service.subscription_pause(subscription=subscription, actor=None, now=NOW)
    assert stretches(subscription) == [(small.pk, START, at)]
    with pytest.raises(SubscriptionOverlapError):
        subscribe(large, organization=subscription.organization, now=NOW + timedelta(days=1))
    back = NOW + timedelta(days=3)
    segment = service.subscription_resume(subscription=subscription, actor=None, now=back)
    assert (segment.plan_version_id, segment.starts_at) == (small.pk, back + timedelta(seconds=2))
    subscription.refresh_from_db()
    assert subscription.paused_at is None


def test_what_is_an_upgrade_is_told_by_the_plan_in_force_and_not_by_the_last_scan() -> None:
    small, large = make_plans()
    middle = make_plan_version(small.plan.apis.get())
    middle.plan.rank = 5
    middle.plan.save(update_fields=["rank"])
    subscription = subscribe(small)
    service.subscription_change(subscription=subscription, version=large, actor=None, now=NOW)
    later = NOW + timedelta(seconds=9)  # in force, and nothing has scanned yet
    service.subscription_change(subscription=subscription, version=middle, actor=None, now=later)
    end = datetime(2026, 3, 31, tzinfo=UTC)
    assert stretches(subscription)[1:] == [
        (large.pk, NOW + timedelta(seconds=2), end),
        (middle.pk, end, None),
    ]


def test_a_subscription_that_is_over_cannot_be_changed() -> None:
    small, large = make_plans()
    subscription = subscribe(large)
    end = service.subscription_cancel(subscription=subscription, actor=None, now=NOW)
    with pytest.raises(SubscriptionStateError):
        service.subscription_change(
            subscription=subscription, version=small, actor=None, now=end + timedelta(days=90)
        )


@pytest.mark.parametrize("act", ["pause", "cancel", "cancel_at_once", "change"])
def test_what_follows_a_resumption_at_once_leaves_the_pause_a_pause(act: str) -> None:
    """The resumed segment is 2 s ahead: it is no planned change, the time before it stays free."""
    small, large = make_plans()
    subscription = subscribe(small)
    paused_at = service.subscription_pause(subscription=subscription, actor=None, now=NOW)
    back = NOW + timedelta(days=3)
    service.subscription_resume(subscription=subscription, actor=None, now=back)
    resumed_at, soon = back + timedelta(seconds=2), back + timedelta(seconds=3)
    end, second = datetime(2026, 3, 31, tzinfo=UTC), back + timedelta(seconds=1)
    with pytest.raises(SubscriptionStateError):
        service.subscription_change_undo(subscription=subscription, actor=None, now=second)
    after: list[tuple[str, datetime, datetime | None]]
    match act:
        case "pause":
            service.subscription_pause(subscription=subscription, actor=None, now=second)
            after = [(small.pk, resumed_at, soon)]
        case "cancel":
            service.subscription_cancel(subscription=subscription, actor=None, now=second)
            after = [(small.pk, resumed_at, end)]
        case "cancel_at_once":
            service.subscription_cancel(
                subscription=subscription, actor=None, now=second, at_once=True
            )
            after = [(small.pk, resumed_at, soon)]
        case _:
            service.subscription_change(
                subscription=subscription, version=large, actor=None, now=second
            )
            after = [(small.pk, resumed_at, soon), (large.pk, soon, None)]
    assert stretches(subscription) == [(small.pk, START, paused_at), *after]


def test_what_is_not_offered_cannot_be_taken() -> None:
    draft = make_plan_version(make_api(), published=False)
    with pytest.raises(PlanNotOfferedError):
        subscribe(draft)
    archived = make_plan_version(make_api())
    archived.plan.archived_at = NOW
    archived.plan.save(update_fields=["archived_at"])
    with pytest.raises(PlanNotOfferedError):
        subscribe(archived)


def test_one_currency_per_organization() -> None:
    organization = make_organization()
    subscribe(make_plan_version(make_api(), currency="JPY"), organization=organization)
    organization.refresh_from_db()
    assert organization.currency == "JPY"
    with pytest.raises(InputInvalidError):
        subscribe(make_plan_version(make_api()), organization=organization)


def test_periods_open_as_time_goes_on_and_stay_as_stored() -> None:
    subscription = subscribe(make_plan_version(make_api()))
    first = subscription.periods.get(number=0)
    first.ends_at += timedelta(hours=1)
    first.save(update_fields=["ends_at"])
    assert periods_open_due(now=START) == 0
    assert periods_open_due(now=datetime(2026, 7, 5, tzinfo=UTC)) == 5
    periods = subscription.periods.order_by("number")
    assert [p.number for p in periods] == list(range(8))
    assert periods[0].ends_at == first.ends_at
    service.subscription_cancel(
        subscription=subscription, actor=None, now=datetime(2026, 7, 5, tzinfo=UTC)
    )
    assert periods_open_due(now=datetime(2026, 7, 20, tzinfo=UTC)) == 0
