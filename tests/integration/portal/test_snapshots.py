"""What a published snapshot says, and when a new version appears."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from pytest_django import DjangoAssertNumQueries

from gateway.contracts.access_log import Charge
from gateway.contracts.snapshot import (
    EntitlementState,
    Environment,
    Outcome,
    Snapshot,
    parse_document,
)
from gateway.core.instants import to_us
from gateway.core.quota_replay import counted_charges
from gateway.core.settle import settle
from portal.models import (
    Api,
    Consumer,
    Credential,
    Organization,
    PlanVersion,
    Segment,
    SnapshotVersion,
    Subscription,
)
from portal.snapshots import (
    KEPT_VERSIONS,
    snapshot_due,
    snapshot_publish,
    snapshot_state,
    snapshot_touch,
)
from tests.factories.access_log import StreamWriter
from tests.factories.provider import (
    MONTH,
    NOW,
    make_api,
    make_credential,
    make_organization,
    make_plan_version,
    make_subscription,
)

pytestmark = pytest.mark.django_db


def published() -> Snapshot:
    """Publish and read the newest version as a gateway would."""
    version = snapshot_publish(now=NOW)
    return parse_document(SnapshotVersion.objects.get(version=version).document)


def test_a_live_key_draws_on_the_subscription_that_covers_the_api() -> None:
    maps, mail = make_api(slug="maps", routes=2), make_api(slug="mail")
    organization = make_organization()
    subscription = make_subscription(organization, make_plan_version(maps))
    key = make_credential(organization)
    snapshot = published()
    assert set(snapshot.grants) == {f"{key.pk}:{maps.pk}"}
    entitlement = snapshot.entitlements[subscription.pk]
    assert snapshot.grants[f"{key.pk}:{maps.pk}"].entitlement_id == subscription.pk
    assert entitlement.state is EntitlementState.ACTIVE
    assert [(p.start, p.end) for p in entitlement.periods] == [
        (NOW - timedelta(days=5), NOW + timedelta(days=25)),
        (NOW + timedelta(days=25), NOW + timedelta(days=55)),
    ]
    assert entitlement.upgrade_url.endswith(f"/app/{organization.slug}/plan")
    version = snapshot.plan_versions[entitlement.segments[0].plan_version_id]
    assert version.routes == tuple(sorted(maps.routes.values_list("id", flat=True)))
    assert version.quotas[0].quota == 100
    assert mail.routes.get().pk in snapshot.routes


def test_a_test_key_may_call_every_published_api_without_a_subscription() -> None:
    first, second = make_api(), make_api()
    make_api(is_published=False)
    organization = make_organization()
    key = make_credential(organization, environment="test")
    snapshot = published()
    assert set(snapshot.grants) == {f"{key.pk}:{api.pk}" for api in (first, second)}
    entitlement = snapshot.entitlements[f"test:{organization.pk}"]
    assert entitlement.subscription_id == ""
    terms = snapshot.plan_versions[entitlement.segments[0].plan_version_id]
    assert (terms.quotas[0].quota, terms.rate_limits[0].burst) == (1_000, 60)
    settled = settle(terms, Outcome.SUCCESS, environment=Environment.TEST)
    assert (settled.charge, settled.returned) == (Charge.FREE, False)  # free, and it counts


def test_a_change_to_come_travels_as_a_segment_with_its_own_routes() -> None:
    maps, mail = make_api(slug="maps"), make_api(slug="mail")
    organization = make_organization()
    small, large = make_plan_version(maps), make_plan_version(maps, mail)
    subscription = make_subscription(organization, small)
    key = make_credential(organization)
    at = NOW + timedelta(seconds=10)
    Segment.objects.filter(subscription=subscription).update(ends_at=at)
    Segment.objects.create(subscription=subscription, plan_version=large, starts_at=at)
    snapshot = published()
    segments = snapshot.entitlements[subscription.pk].segments
    assert [(s.start, s.end) for s in segments] == [(NOW - timedelta(days=5), at), (at, None)]
    routes = [snapshot.plan_versions[s.plan_version_id].routes for s in segments]
    assert routes[0] == (maps.routes.get().pk,)
    assert set(routes[1] or ()) == {maps.routes.get().pk, mail.routes.get().pk}
    assert f"{key.pk}:{mail.pk}" in snapshot.grants


@pytest.mark.parametrize(
    ("organization_values", "subscription_values", "state"),
    [
        ({"blocked_at": NOW}, {}, EntitlementState.PAST_DUE_BLOCKED),
        ({"past_due_since": NOW}, {}, EntitlementState.ACTIVE),
        ({}, {"paused_at": NOW}, EntitlementState.INACTIVE),
        ({}, {"ends_at": NOW}, EntitlementState.INACTIVE),
        ({}, {"ends_at": NOW + timedelta(days=1)}, EntitlementState.ACTIVE),
    ],
)
def test_the_state_says_why(
    organization_values: dict[str, Any],
    subscription_values: dict[str, object],
    state: EntitlementState,
) -> None:
    organization = make_organization(**organization_values)
    subscription = make_subscription(organization, make_plan_version(make_api()))
    Subscription.objects.filter(pk=subscription.pk).update(**subscription_values)
    assert published().entitlements[subscription.pk].state is state


def test_a_running_subscription_wins_over_one_that_ended() -> None:
    api, organization = make_api(), make_organization()
    version = make_plan_version(api)
    make_subscription(organization, version, starts_at=NOW - MONTH, ends_at=NOW - MONTH / 2)
    running = make_subscription(organization, version)
    key = make_credential(organization)
    assert published().grants[f"{key.pk}:{api.pk}"].entitlement_id == running.pk


def test_a_restart_counts_what_was_used_before_a_change_of_plan() -> None:
    maps, organization = make_api(slug="maps"), make_organization()
    subscription, at = make_subscription(organization, make_plan_version(maps)), NOW - MONTH / 10
    Segment.objects.filter(subscription=subscription).update(ends_at=at)
    Segment.objects.create(
        subscription=subscription, plan_version=make_plan_version(maps), starts_at=at
    )
    before = StreamWriter().event(
        admitted_at=at - timedelta(days=1), subscription_id=subscription.pk,
        quantities={"requests": Decimal(3)},
    )  # fmt: skip
    (charge,) = counted_charges(before, published())
    assert (charge.units, charge.end_us) == (3, to_us(NOW + timedelta(days=25)))


def test_an_api_that_a_subscription_has_left_is_drawn_from_the_one_that_covers_it() -> None:
    maps, mail, organization = make_api(slug="maps"), make_api(slug="mail"), make_organization()
    left, at = make_subscription(organization, make_plan_version(maps)), NOW - timedelta(hours=1)
    Segment.objects.filter(subscription=left).update(ends_at=at)
    Segment.objects.create(subscription=left, plan_version=make_plan_version(mail), starts_at=at)
    covers = make_subscription(organization, make_plan_version(maps), starts_at=at)
    key = make_credential(organization)
    grants = published().grants
    assert grants[f"{key.pk}:{maps.pk}"].entitlement_id == covers.pk
    assert grants[f"{key.pk}:{mail.pk}"].entitlement_id == left.pk


def test_credentials_say_whether_they_are_usable() -> None:
    organization = make_organization()
    live = make_credential(organization, expires_at=NOW + MONTH)
    revoked = make_credential(organization, revoked_at=NOW)
    suspended = make_credential(make_organization(suspended_at=NOW))
    snapshot = published()
    assert snapshot.credentials[live.pk].active
    assert snapshot.credentials[live.pk].expires_at == NOW + MONTH
    assert not snapshot.credentials[revoked.pk].active
    assert not snapshot.credentials[suspended.pk].active


def test_only_a_changed_content_makes_a_version() -> None:
    make_api(slug="maps")
    assert [snapshot_publish(now=NOW) for _ in range(2)] == [1, 1]
    Api.objects.update(slug="cards")
    assert snapshot_publish(now=NOW) == 2


def test_a_touch_is_pending_until_it_is_published() -> None:
    assert snapshot_due(snapshot_state(), now=NOW)
    snapshot_publish(now=NOW)
    assert not snapshot_due(snapshot_state(), now=NOW)
    snapshot_touch()
    assert snapshot_due(snapshot_state(), now=NOW)
    snapshot_publish(now=NOW)
    assert not snapshot_due(snapshot_state(), now=NOW)


def test_the_end_of_a_period_makes_a_publish_due() -> None:
    make_subscription(make_organization(), make_plan_version(make_api()))
    snapshot_publish(now=NOW)
    end = NOW + timedelta(days=25)
    assert snapshot_state().refresh_at == end
    assert not snapshot_due(snapshot_state(), now=end - timedelta(seconds=1))
    assert snapshot_due(snapshot_state(), now=end)


def test_old_documents_are_dropped() -> None:
    api = make_api()
    for number in range(KEPT_VERSIONS + 3):
        Api.objects.filter(pk=api.pk).update(slug=f"name-{number}")
        snapshot_publish(now=NOW)
    assert SnapshotVersion.objects.count() == KEPT_VERSIONS


def test_a_published_plan_version_is_never_changed() -> None:
    version = make_plan_version(make_api())
    with pytest.raises(IntegrityError, match="never changed"), transaction.atomic():
        PlanVersion.objects.filter(pk=version.pk).update(note="cheaper")
    with pytest.raises(IntegrityError, match="never changed"), transaction.atomic():
        version.delete()
    draft = make_plan_version(plan=version.plan, published=False)
    PlanVersion.objects.filter(pk=draft.pk).update(note="cheaper")
    draft.delete()


def test_ten_thousand_credentials_are_published_in_few_queries(
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    version = make_plan_version(make_api(routes=5))
    organizations = Organization.objects.bulk_create(
        Organization(name=f"o{n}", slug=f"o{n}", created_at=NOW) for n in range(5_000)
    )
    consumers = Consumer.objects.bulk_create(
        Consumer(organization=o, name="c", username=f"{o.slug}-c", created_at=NOW)
        for o in organizations
    )
    Credential.objects.bulk_create(
        Credential(
            consumer=consumer,
            name="k",
            environment=environment,
            key_hash=f"{environment}{number:060d}",
            prefix="tw",
            last4="abcd",
            created_at=NOW,
        )
        for number, consumer in enumerate(consumers)
        for environment in ("live", "test")
    )
    subscriptions = Subscription.objects.bulk_create(
        Subscription(
            organization=o, plan=version.plan, starts_at=NOW, billing_anchor=NOW, created_at=NOW
        )
        for o in organizations
    )
    Segment.objects.bulk_create(
        Segment(subscription=s, plan_version=version, starts_at=NOW) for s in subscriptions
    )
    with django_assert_max_num_queries(20):  # one per table; the suite bounds the time
        snapshot_publish(now=NOW)
