"""Rows of the provider's side: APIs, plans, customers and their subscriptions, made directly."""

import hashlib
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from portal.models import (
    Api,
    BillingPeriod,
    Consumer,
    Credential,
    Organization,
    Plan,
    PlanVersion,
    Route,
    Segment,
    StaffRole,
    Subscription,
    Upstream,
    User,
)

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
MONTH = timedelta(days=30)
_number = count(1)


def make_user(*, staff_role: str = StaffRole.ADMIN, email: str = "") -> User:
    return User.objects.create_user(
        email or f"person{next(_number)}@example.com", "correct horse", staff_role=staff_role
    )


def make_organization(*, name: str = "Acme", **values: Any) -> Organization:
    number = next(_number)
    return Organization.objects.create(
        name=name, slug=f"org-{number}", created_at=NOW - MONTH, **values
    )


def make_api(*, slug: str = "", routes: int = 1, is_published: bool = True) -> Api:
    """Make an API with an upstream of its own and `routes` routes."""
    slug = slug or f"api-{next(_number)}"
    api = Api.objects.create(
        name=slug.title(), slug=slug, is_published=is_published, created_at=NOW - MONTH
    )
    upstream = Upstream.objects.create(
        name=f"{slug}-upstream", targets={"http://127.0.0.1:9000": 1}, created_at=NOW - MONTH
    )
    for index in range(routes):
        Route.objects.create(
            api=api,
            upstream=upstream,
            name=f"route-{index}",
            path=f"/{slug}/{index}",
            created_at=NOW - MONTH,
        )
    return api


def make_plan_version(
    *apis: Api,
    plan: Plan | None = None,
    limits: dict[str, Any] | None = None,
    published: bool = True,
    **values: Any,
) -> PlanVersion:
    if plan is None:
        number = next(_number)
        plan = Plan.objects.create(
            slug=f"plan-{number}", name=f"Plan {number}", created_at=NOW - MONTH
        )
        plan.apis.set(apis)
    return PlanVersion.objects.create(
        plan=plan,
        number=plan.versions.count() + 1,
        limits=limits if limits is not None else {"quotas": [{"meter": "requests", "quota": 100}]},
        terms=values.pop("terms", {"prices": []}),
        published_at=NOW - MONTH if published else None,
        created_at=NOW - MONTH,
        **values,
    )


def make_subscription(
    organization: Organization,
    version: PlanVersion,
    *,
    starts_at: datetime = NOW - timedelta(days=5),
    ends_at: datetime | None = None,
) -> Subscription:
    """Make a subscription with one segment and two periods of 30 days."""
    subscription = Subscription.objects.create(
        organization=organization,
        plan=version.plan,
        starts_at=starts_at,
        ends_at=ends_at,
        billing_anchor=starts_at,
        created_at=starts_at,
    )
    Segment.objects.create(
        subscription=subscription, plan_version=version, starts_at=starts_at, ends_at=ends_at
    )
    for number in range(2):
        BillingPeriod.objects.create(
            subscription=subscription,
            number=number,
            starts_at=starts_at + number * MONTH,
            ends_at=starts_at + (number + 1) * MONTH,
        )
    return subscription


def make_credential(
    organization: Organization, *, environment: str = "live", **values: Any
) -> Credential:
    consumer = organization.consumers.first() or Consumer.objects.create(
        organization=organization,
        name="Default",
        username=f"{organization.slug}-default",
        created_at=NOW - MONTH,
    )
    number = next(_number)
    return Credential.objects.create(
        consumer=consumer,
        name=f"key {number}",
        environment=environment,
        key_hash=hashlib.sha256(f"key {number}".encode()).hexdigest(),
        prefix=f"tw_{environment}_ab{number % 100:02d}",
        last4=f"{number:04d}"[-4:],
        created_at=NOW - MONTH,
        **values,
    )
