"""Seeds the demo when the database is empty, then prints how to get in, as one line of JSON.

One API (imported from the upstream's own OpenAPI file), three plans, three people, and customers
whose month `replay` will play. Everything goes through the same services that the pages call.
"""

import argparse
import json
import os
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings.local")
django.setup()

from allauth.account.models import EmailAddress  # noqa: E402 - Django must be set up first
from django.db import transaction  # noqa: E402

from deploy.installation import secret_write  # noqa: E402
from portal import clock  # noqa: E402
from portal.models import (  # noqa: E402
    Api,
    Consumer,
    Credential,
    Environment,
    Organization,
    Plan,
    PlanVersion,
    StaffRole,
    User,
)
from portal.services.accounts import account_provision  # noqa: E402
from portal.services.catalog import api_save, upstream_save  # noqa: E402
from portal.services.clock_control import clock_start  # noqa: E402
from portal.services.credentials import credential_create, credential_reveal_test  # noqa: E402
from portal.services.openapi_import import openapi_import  # noqa: E402
from portal.services.plans import (  # noqa: E402
    plan_save,
    plan_version_draft,
    plan_version_publish,
    plan_version_save,
)
from portal.services.subscriptions import subscription_create  # noqa: E402

OPENAPI = Path(__file__).with_name("openapi.yaml")
ADMIN = "admin@tollway.example"
PEOPLE = (
    ("developer", "dev@tollway.example", ""),
    ("admin", ADMIN, StaffRole.ADMIN),
    ("finance", "finance@tollway.example", StaffRole.FINANCE),
)
SAMPLE_PATH = "/v1/countries/de"
KEYS_FILE = "demo_keys"  # in the secrets folder: the live keys that the replay calls with


@dataclass(frozen=True, slots=True)
class DemoCustomer:
    """A customer whose month is replayed; `daily` calls on a usual working day."""

    name: str
    email: str
    plan: str
    daily: int


CUSTOMERS = (
    DemoCustomer("Developer", "dev@tollway.example", "starter", 35),
    DemoCustomer("Atlas Travel", "it@atlas-travel.example", "starter", 120),
    DemoCustomer("Birch Logistics", "api@birch-logistics.example", "payg", 60),
    DemoCustomer("Cedar Maps", "hello@cedar-maps.example", "free", 45),
)
_RATE: dict[str, Any] = {"name": "burst", "rate": 200, "per_s": 1, "burst": 400}
PLANS: tuple[dict[str, Any], ...] = (
    {
        "slug": "free", "name": "Free", "rank": 0,
        "description": "1,000 calls a month, then blocked until the next one.",
        "prices": [],
        "quota": {"meter": "requests", "quota": 1000, "block_at_percent": 100},
    },
    {
        "slug": "starter", "name": "Starter", "rank": 1,
        "description": "50,000 calls included; more at falling prices.",
        "prices": [
            {"key": "base", "model": "flat", "amount": "49.00"},
            {"key": "calls", "meter": "requests", "model": "graduated", "tiers": [
                {"up_to": "50000", "unit_amount": "0"},
                {"up_to": "250000", "unit_amount": "1.20", "per": "1000"},
                {"up_to": None, "unit_amount": "0.90", "per": "1000"},
            ]},
        ],
        "quota": {"meter": "requests", "quota": 50000, "block_at_percent": 0},
    },
    {
        "slug": "payg", "name": "Pay as you go", "rank": 2,
        "description": "No base fee, 0.002 a call.",
        "prices": [
            {"key": "calls", "meter": "requests", "model": "per_unit", "unit_amount": "0.002"},
        ],
        "quota": {"meter": "requests", "quota": 1_000_000, "block_at_percent": 0},
    },
)  # fmt: skip


def seed_catalog(*, upstream_url: str, actor: User, now: datetime) -> None:
    """Make upstream, API, routes and the three published plans."""
    upstream = upstream_save(
        upstream=None,
        values={"name": "world-data", "targets": {upstream_url: 1}},
        actor=actor,
        now=now,
    )
    values = {
        "name": "World Data",
        "slug": "world-data",
        "description": "Countries, currencies and languages of the world.",
        "sample_path": SAMPLE_PATH,
    }
    api = api_save(api=None, values=values, actor=actor, now=now)
    openapi_import(api=api, upstream=upstream, text=OPENAPI.read_text(), actor=actor, now=now)
    api = api_save(api=api, values={**values, "is_published": True}, actor=actor, now=now)
    for plan in PLANS:
        seed_plan(plan, api=api, actor=actor, now=now)


def seed_plan(values: dict[str, Any], *, api: Api, actor: User, now: datetime) -> PlanVersion:
    shown = {name: values[name] for name in ("slug", "name", "description", "rank")}
    plan = plan_save(plan=None, values=shown, apis=[api], actor=actor, now=now)
    draft = plan_version_draft(plan=plan, actor=actor, now=now)
    limits = {"quotas": [values["quota"]], "rate_limits": [_RATE]}
    plan_version_save(
        version=draft,
        terms={"prices": values["prices"]},
        limits=limits,
        currency="USD",
        trial_days=0,
        past_due_grace_days=7,
        actor=actor,
        now=now,
    )
    return plan_version_publish(version=draft, actor=actor, now=now)


def seed_person(*, name: str, email: str, staff_role: str, password: str, now: datetime) -> User:
    """Make a person with a confirmed address, a personal organization and a test key."""
    user = User.objects.create_user(email, password, name=name, staff_role=staff_role)
    EmailAddress.objects.create(user=user, email=email, verified=True, primary=True)
    account_provision(user=user, now=now)
    return user


def seed_customer(customer: DemoCustomer, *, user: User, now: datetime) -> str:
    """Subscribe a person's organization to its plan; return the secret of its live key."""
    consumer = Consumer.objects.select_related("organization").get(
        organization__memberships__user=user
    )
    version = Plan.objects.get(slug=customer.plan).versions.get()
    subscription_create(organization=consumer.organization, version=version, actor=user, now=now)
    issued = credential_create(
        consumer=consumer, name="Production", environment=Environment.LIVE, actor=user, now=now
    )
    return issued.secret


def seed(*, password: str, upstream_url: str, now: datetime) -> dict[str, str]:
    """Fill an empty database; return the live keys by customer."""
    users = {
        email: seed_person(
            name=role.title(), email=email, staff_role=staff_role, password=password, now=now
        )
        for role, email, staff_role in PEOPLE
    }
    seed_catalog(upstream_url=upstream_url, actor=users[ADMIN], now=now)
    keys = {}
    for customer in CUSTOMERS:
        user = users.get(customer.email) or seed_person(
            name=customer.name, email=customer.email, staff_role="", password=password, now=now
        )
        keys[customer.email] = seed_customer(customer, user=user, now=now)
    return keys


def access(password: str) -> dict[str, Any]:
    """Say who may sign in and which key works at once."""
    consumer = Consumer.objects.get(organization__memberships__user__email=PEOPLE[0][1])
    key = Credential.objects.filter(consumer=consumer, environment="test").earliest("created_at")
    return {
        "logins": [
            {"role": role, "email": email, "password": password} for role, email, _ in PEOPLE
        ],
        "test_key": credential_reveal_test(credential=key),
        "path": SAMPLE_PATH,
        "is_past": clock.offset() < timedelta(0),
    }


@transaction.atomic
def start(secrets: Path, *, password: str, upstream_url: str, days: int, wall: datetime) -> None:
    """Set the clock, seed and keep the live keys, where the database is empty: all or nothing.

    days   before `wall` to begin on
    """
    if Organization.objects.exists():
        return
    if days:
        clock_start(at=wall - timedelta(days=days), wall=wall)
    keys = seed(password=password, upstream_url=upstream_url, now=clock.now())
    secret_write(secrets / KEYS_FILE, json.dumps(keys))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--upstream", required=True)
    parser.add_argument("--days", type=int, default=0, help="days before today to begin on")
    options = parser.parse_args()
    secrets = options.data / "secrets"
    password = (secrets / "demo_password").read_text().strip()
    start(
        secrets,
        password=password,
        upstream_url=options.upstream,
        days=options.days,
        wall=clock.wall_now(),
    )
    print(json.dumps(access(password)))  # noqa: T201 - for the caller
    return 0


if __name__ == "__main__":
    sys.exit(main())
