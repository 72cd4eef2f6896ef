"""Builds people, organizations, APIs, plans and subscriptions for tests of the portal.

Plain functions with defaults; each makes exactly the rows that its name says. `NOW` is the
instant at which everything was created; tests pass their own where it matters.
"""

import itertools
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from allauth.account.models import EmailAddress
from django.test import Client

from portal.models import (
    Api,
    Consumer,
    Environment,
    Membership,
    Organization,
    Plan,
    PlanVersion,
    Role,
    Route,
    Segment,
    Subscription,
    Upstream,
    User,
)
from portal.services.credentials import IssuedCredential, credential_create

NOW: Final = datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC)
PASSWORD: Final = "correct horse battery staple"
_numbers = itertools.count(1)


def user(*, email: str = "", staff_role: str = "", verified: bool = True) -> User:
    address = email or f"person{next(_numbers)}@example.test"
    person = User.objects.create_user(address, PASSWORD, staff_role=staff_role)
    EmailAddress.objects.create(user=person, email=address, primary=True, verified=verified)
    return person


def client_of(person: User) -> Client:
    """A browser in which the person is signed in."""
    client = Client()
    client.force_login(person, backend="django.contrib.auth.backends.ModelBackend")
    return client


def organization(*, name: str = "Acme", slug: str = "") -> Organization:
    return Organization.objects.create(
        name=name, slug=slug or f"{name.lower()}-{next(_numbers)}", created_at=NOW
    )


def member(
    org: Organization, *, role: str = Role.OWNER, email: str = "", verified: bool = True
) -> Membership:
    """A person with a role in the organization."""
    person = user(email=email, verified=verified)
    return Membership.objects.create(organization=org, user=person, role=role, created_at=NOW)


def consumer(org: Organization, *, name: str = "Default") -> Consumer:
    username = f"{org.slug}-{next(_numbers)}"
    return Consumer.objects.create(organization=org, name=name, username=username, created_at=NOW)


def key(
    org: Organization,
    *,
    environment: str = Environment.TEST,
    name: str = "Server",
    now: datetime = NOW,
    expires_at: datetime | None = None,
    scopes: tuple[str, ...] = (),
) -> IssuedCredential:
    owner = org.consumers.first() or consumer(org)
    return credential_create(
        consumer=owner,
        name=name,
        environment=environment,
        actor=None,
        now=now,
        expires_at=expires_at,
        scopes=scopes,
    )


def api(*, slug: str = "world", published: bool = True, scopes: tuple[str, ...] = ()) -> Api:
    """An API with one upstream and one route, which may require scopes."""
    row = Api.objects.create(
        name=slug.capitalize(),
        slug=slug,
        is_published=published,
        sample_path="/v1/countries?limit=2",
        created_at=NOW,
    )
    upstream = Upstream.objects.create(
        name=f"{slug}-upstream", targets={"http://127.0.0.1:9000": 1}, created_at=NOW
    )
    Route.objects.create(
        api=row,
        upstream=upstream,
        name="countries",
        path="/v1/countries",
        scopes=list(scopes),
        created_at=NOW,
    )
    return row


def plan_version(
    *,
    slug: str = "pro",
    terms: dict[str, Any] | None = None,
    limits: dict[str, Any] | None = None,
    apis: tuple[Api, ...] = (),
) -> PlanVersion:
    """A published version of the plan; the plan is made with its first version."""
    plan, _created = Plan.objects.get_or_create(
        slug=slug, defaults={"name": slug.capitalize(), "created_at": NOW}
    )
    plan.apis.add(*apis)
    number = plan.versions.count() + 1
    return PlanVersion.objects.create(
        plan=plan,
        number=number,
        terms={"prices": [{"key": "base", "model": "flat", "amount": "49.00"}]}
        if terms is None
        else terms,
        limits={"quotas": [{"meter": "requests", "quota": 50_000}]} if limits is None else limits,
        content_hash=f"{slug}-{number}",
        published_at=NOW,
        created_at=NOW,
    )


def subscription(
    org: Organization, version: PlanVersion, *, starts_at: datetime = NOW
) -> Subscription:
    """A running subscription with its one open segment."""
    row = Subscription.objects.create(
        organization=org,
        plan=version.plan,
        starts_at=starts_at,
        billing_anchor=starts_at,
        created_at=starts_at,
    )
    Segment.objects.create(subscription=row, plan_version=version, starts_at=starts_at)
    return row


@dataclass(frozen=True)
class Cast:
    """alice owns the organization, bob is her teammate, charlie must see nothing of it."""

    organization: Organization
    alice: Membership
    bob: Membership
    charlie: Membership

    @property
    def elsewhere(self) -> Organization:
        return self.charlie.organization


def cast(*, bob: str = Role.DEVELOPER) -> Cast:
    acme, other = organization(name="Acme"), organization(name="Other")
    return Cast(
        organization=acme,
        alice=member(acme, role=Role.OWNER),
        bob=member(acme, role=bob),
        charlie=member(other, role=Role.OWNER),
    )


def later(**span: int) -> datetime:
    """`NOW` plus a span: `later(hours=1)`."""
    return NOW + timedelta(**span)
