"""Builds a customer with a subscription, its segments and periods, for tests of billing."""

import itertools
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from portal.models import (
    BillingPeriod,
    Membership,
    Organization,
    Plan,
    PlanVersion,
    Role,
    Segment,
    StaffRole,
    Subscription,
    User,
)

_numbers = itertools.count(1)
JAN: Final = datetime(2026, 1, 1, tzinfo=UTC)
FEB: Final = datetime(2026, 2, 1, tzinfo=UTC)
MAR: Final = datetime(2026, 3, 1, tzinfo=UTC)


def pro_terms(*, base: str = "49.00", unit: str = "1.20") -> dict[str, Any]:
    """A fee in advance and graduated calls: 50,000 free, then blocks of 1,000."""
    return {
        "prices": [
            {"key": "base", "model": "flat", "amount": base, "timing": "in_advance"},
            {
                "key": "calls",
                "meter": "requests",
                "model": "graduated",
                "tiers": [
                    {"up_to": "50000", "unit_amount": "0"},
                    {"up_to": None, "unit_amount": unit, "per": "1000"},
                ],
            },
        ]
    }


def plan_version(
    *,
    slug: str = "pro",
    terms: dict[str, Any] | None = None,
    threshold_minor: int | None = None,
    limits: dict[str, Any] | None = None,
    rank: int = 0,
    published: bool = True,
    currency: str = "USD",
) -> PlanVersion:
    plan, _ = Plan.objects.get_or_create(
        slug=slug, defaults={"name": slug.capitalize(), "created_at": JAN, "rank": rank}
    )
    number = plan.versions.count() + 1
    return PlanVersion.objects.create(
        plan=plan,
        number=number,
        terms=pro_terms() if terms is None else terms,
        limits={"quotas": [{"meter": "requests", "quota": 50_000}]} if limits is None else limits,
        content_hash=f"{slug}-{number}",
        currency=currency,
        threshold_minor=threshold_minor,
        published_at=JAN if published else None,
        created_at=JAN,
    )


def user(*, email: str = "", staff_role: str = "") -> User:
    return User.objects.create_user(
        email or f"user{next(_numbers)}@example.test",
        "correct horse staple",
        staff_role=staff_role,
    )


def finance_user() -> User:
    return user(staff_role=StaffRole.FINANCE)


def organization(*, name: str = "Acme", tax: str = "0") -> Organization:
    number = next(_numbers)
    row = Organization.objects.create(
        name=name,
        slug=f"{name.lower()}-{number}",
        billing_email=f"billing{number}@example.test",
        tax_rate_percent=tax,
        created_at=JAN,
    )
    owner = user()
    Membership.objects.create(organization=row, user=owner, role=Role.OWNER, created_at=JAN)
    return row


@dataclass(frozen=True)
class Customer:
    organization: Organization
    subscription: Subscription
    version: PlanVersion
    january: BillingPeriod
    february: BillingPeriod

    @property
    def owner(self) -> User:
        return self.organization.memberships.get(role=Role.OWNER).user


def customer(
    *, version: PlanVersion | None = None, tax: str = "0", name: str = "Acme"
) -> Customer:
    """A customer since 1 January with two stored months."""
    row = organization(name=name, tax=tax)
    held = version or plan_version()
    subscription = Subscription.objects.create(
        organization=row, plan=held.plan, starts_at=JAN, billing_anchor=JAN, created_at=JAN
    )
    Segment.objects.create(subscription=subscription, plan_version=held, starts_at=JAN)
    january, february = (
        BillingPeriod.objects.create(
            subscription=subscription, number=number, starts_at=start, ends_at=end
        )
        for number, (start, end) in enumerate([(JAN, FEB), (FEB, MAR)])
    )
    return Customer(row, subscription, held, january, february)


def plan_changed(subscription: Subscription, *, to: PlanVersion, at: datetime) -> Segment:
    """End the open segment at an instant and begin the next there."""
    Segment.objects.filter(subscription=subscription, ends_at__isnull=True).update(ends_at=at)
    Subscription.objects.filter(pk=subscription.pk).update(plan=to.plan)
    return Segment.objects.create(subscription=subscription, plan_version=to, starts_at=at)
