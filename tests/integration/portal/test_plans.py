"""Plans: drafts are saved as typed, publishing checks everything and freezes the version."""

from datetime import timedelta
from typing import Any

import pytest

from portal.errors import InputInvalidError, PlanVersionPublishedError
from portal.models import Plan, PlanVersion
from portal.services import plans as service
from portal.services.subscriptions import (
    subscription_cancel,
    subscription_create,
    subscription_pause,
)
from tests.factories.provider import NOW, make_api, make_organization, make_plan_version

pytestmark = pytest.mark.django_db

TERMS: dict[str, Any] = {
    "prices": [
        {"key": "base", "model": "flat", "amount": "49.00"},
        {
            "key": "calls",
            "meter": "requests",
            "model": "per_unit",
            "unit_amount": "0.002",
            "included": "1000",
        },
    ]
}
LIMITS: dict[str, Any] = {"quotas": [{"meter": "requests", "quota": 1000, "block_at_percent": 0}]}


def make_plan() -> Plan:
    return service.plan_save(
        plan=None,
        values={"slug": "team", "name": "Team", "rank": 2},
        apis=[make_api()],
        actor=None,
        now=NOW,
    )


def save(version: PlanVersion, **values: Any) -> PlanVersion:
    defaults = {"terms": TERMS, "limits": LIMITS, "currency": "USD"}
    return service.plan_version_save(
        version=version,
        trial_days=0,
        past_due_grace_days=7,
        actor=None,
        now=NOW,
        **(defaults | values),
    )


def test_a_plan_covers_at_least_one_api_and_owns_its_name() -> None:
    make_plan()
    with pytest.raises(InputInvalidError) as error:
        service.plan_save(
            plan=None, values={"slug": "team", "name": "T"}, apis=[], actor=None, now=NOW
        )
    assert [(p.path, p.code) for p in error.value.problems] == [
        ("apis", "required"),
        ("slug", "taken"),
    ]


def test_there_is_one_draft_and_it_starts_from_the_newest_version() -> None:
    plan = make_plan()
    draft = service.plan_version_draft(plan=plan, actor=None, now=NOW)
    assert service.plan_version_draft(plan=plan, actor=None, now=NOW) == draft
    service.plan_version_publish(version=save(draft), actor=None, now=NOW)
    following = service.plan_version_draft(plan=plan, actor=None, now=NOW)
    assert (following.number, following.terms["prices"][0]["amount"]) == (2, "49.00")


def test_a_published_version_is_normal_hashed_and_frozen() -> None:
    draft = save(service.plan_version_draft(plan=make_plan(), actor=None, now=NOW))
    version = service.plan_version_publish(version=draft, actor=None, now=NOW)
    assert version.published_at == NOW
    assert version.limits["quotas"][0]["window"] == "billing_period"
    assert version.content_hash == service.version_hash(version.terms, version.limits, "USD")
    with pytest.raises(PlanVersionPublishedError):
        save(version)
    with pytest.raises(PlanVersionPublishedError):
        service.plan_version_publish(version=version, actor=None, now=NOW)
    with pytest.raises(PlanVersionPublishedError):
        service.plan_version_delete(version=version, actor=None, now=NOW)


def test_a_wrong_draft_is_kept_but_not_published() -> None:
    limits = {"quotas": [{"meter": "requests", "quota": 999}, {"meter": "ghosts", "quota": 1}]}
    draft = save(service.plan_version_draft(plan=make_plan(), actor=None, now=NOW), limits=limits)
    with pytest.raises(InputInvalidError) as error:
        service.plan_version_publish(version=draft, actor=None, now=NOW)
    assert [(p.path, p.code) for p in error.value.problems] == [
        ("limits.quotas[0].quota", "included_differs")
    ]
    limits["quotas"][0]["quota"] = 1000
    problems = service.plan_version_problems(save(draft, limits=limits))
    assert [(p.path, p.code) for p in problems] == [("limits.quotas[1].meter", "unknown_meter")]
    draft.refresh_from_db()
    assert draft.published_at is None


def test_routes_of_other_apis_cannot_be_granted() -> None:
    plan = make_plan()
    other = make_api().routes.get()
    own = plan.apis.get().routes.get()
    draft = service.plan_version_draft(plan=plan, actor=None, now=NOW)
    problems = service.plan_version_problems(save(draft, limits={"routes": [own.pk, other.pk]}))
    assert [(p.path, p.code) for p in problems] == [("limits.routes[1]", "unknown_route")]


def test_a_draft_can_be_thrown_away() -> None:
    version = make_plan_version(make_api(), published=False)
    service.plan_version_delete(version=version, actor=None, now=NOW)
    assert not PlanVersion.objects.exists()


def test_two_prices_that_read_one_meter_in_different_ways_cannot_be_published() -> None:
    """`percentage` reads each value, `per_unit` the sum: no document could hold both."""
    draft = make_plan_version(make_api(), published=False)
    share = {"key": "share", "meter": "requests", "model": "percentage", "rate": "2.9"}
    save(draft, terms={"prices": [*TERMS["prices"], share]})
    with pytest.raises(InputInvalidError) as error:
        service.plan_version_publish(version=draft, actor=None, now=NOW)
    assert [(p.path, p.code) for p in error.value.problems] == [
        ("terms.prices[2].meter", "usage_kind")
    ]


@pytest.mark.parametrize("paused", ["", "own", "other"])
def test_a_plan_takes_no_api_that_a_subscriber_has_elsewhere(paused: str) -> None:
    first, second = make_plan_version(make_api()), make_plan_version(make_api())
    customer = make_organization()
    on = {
        "own": subscription_create(organization=customer, version=second, actor=None, now=NOW),
        "other": subscription_create(organization=customer, version=first, actor=None, now=NOW),
    }
    later = NOW + timedelta(minutes=1)
    if paused:
        subscription_pause(subscription=on[paused], actor=None, now=NOW)
    plan = second.plan
    both = [*first.plan.apis.all(), *plan.apis.all()]
    values = {"slug": plan.slug, "name": plan.name}
    with pytest.raises(InputInvalidError, match="by another subscription"):
        service.plan_save(plan=plan, values=values, apis=both, actor=None, now=later)
    assert plan.apis.count() == 1
    free = [make_api(), *plan.apis.all()]
    service.plan_save(plan=plan, values=values, apis=free, actor=None, now=later)
    subscription_cancel(subscription=on["other"], actor=None, now=later, at_once=True)
    after = later + timedelta(minutes=1)
    service.plan_save(plan=plan, values=values, apis=[*both, *free], actor=None, now=after)
    assert plan.apis.count() == 3
