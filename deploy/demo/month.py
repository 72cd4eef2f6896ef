"""`make demo-traffic`: real requests of three customers, a month's end, the totals compared.

Needs a running `make up` or `make stack`; `TOLLWAY_DATA_DIR` names it. For each customer it
compares what its client counted, the usage page's CSV, the REST API, the gateway's own `/me/usage`
and the closed period (the draft's line, or the frozen usage where the plan has no price for
calls). They agree, or it exits with 1.
"""

import asyncio
import os
import secrets
import sys
import time
from datetime import datetime
from pathlib import Path

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings.local")
django.setup()

from django.conf import settings  # noqa: E402 - Django must be set up first

from billing.models import Invoice, InvoiceKind, UsageSnapshot  # noqa: E402
from deploy.demo.traffic import (  # noqa: E402
    CUSTOMERS,
    Customer,
    a_month,
    compare,
    own_usage,
    send,
    today,
    wait_for,
)
from metering.queries import UsageFilter  # noqa: E402
from portal import clock  # noqa: E402
from portal.models import BillingPeriod, Consumer, Environment, Plan, User  # noqa: E402
from portal.services.accounts import account_provision  # noqa: E402
from portal.services.api_tokens import api_token_create  # noqa: E402
from portal.services.clock_control import clock_advance  # noqa: E402
from portal.services.credentials import credential_create  # noqa: E402
from portal.services.subscriptions import subscription_create  # noqa: E402
from portal.usage import reader  # noqa: E402

IN_FORCE_S = 2.0


def new_customer(plan: str, *, password: str, now: datetime) -> Customer:
    """Sign a customer up to a plan, with a live key."""
    email = f"{plan}-{secrets.token_hex(3)}@customer.example"
    user = User.objects.create_user(email, password, name=email.partition("@")[0])
    account_provision(user=user, now=now)
    consumer = Consumer.objects.select_related("organization").get(
        organization__memberships__user=user
    )
    version = (
        Plan.objects.get(slug=plan).versions.filter(published_at__isnull=False).latest("number")
    )
    subscription = subscription_create(
        organization=consumer.organization, version=version, actor=user, now=now
    )
    issued = credential_create(
        consumer=consumer, name="Demo", environment=Environment.LIVE, actor=None, now=now
    )
    token = api_token_create(
        user=user, name="Demo", scopes=["read"], expires_at=None,
        wall=clock.wall_now(), now=now, actor_label="demo traffic",
    )  # fmt: skip
    return Customer(
        plan, email, consumer.organization.slug, subscription.pk, issued.secret, token.secret
    )


def all_recorded(customers: list[Customer], *, since: datetime) -> bool:
    """Say whether every answer that the clients got is in ClickHouse."""
    for customer in customers:
        where = UsageFilter(
            start=since, end=since + a_month(), subscription_id=customer.subscription_id
        )
        if reader().usage(where).total.events < customer.statuses.total():
            return False
    return True


def billed_at_close(customer: Customer) -> int | None:
    """Return the calls of the closed period: the draft's line, or the frozen usage."""
    period = BillingPeriod.objects.filter(
        subscription_id=customer.subscription_id, closed_at__isnull=False
    ).first()
    if period is None:
        return None
    invoice = Invoice.objects.filter(period=period, kind=InvoiceKind.PERIOD).first()
    line = invoice.lines.filter(price_key="calls").first() if invoice else None
    if line is not None and line.quantity is not None:
        return int(line.quantity)
    snapshots = UsageSnapshot.objects.filter(period=period, meter="requests")
    return int(sum(snapshot.billed for snapshot in snapshots))


def run(*, password: str) -> int:
    """Play the month; return the exit code."""
    env = settings.ENV
    started = clock.now()
    customers = [new_customer(plan, password=password, now=started) for plan, _ in CUSTOMERS]
    time.sleep(IN_FORCE_S)
    asyncio.run(send(customers, url=env.gateway_url))
    wait_for(lambda: all_recorded(customers, since=started), "recording every request")
    used = {
        f"used:{c.subscription_id}": str(asyncio.run(own_usage(c, url=env.gateway_url)))
        for c in customers
    }
    clock_advance(actor=None, wall=clock.wall_now(), by=a_month())
    closed: dict[str, int] = {}

    def all_closed() -> bool:
        for customer in customers:
            billed = billed_at_close(customer)
            if billed is not None:
                closed[customer.subscription_id] = billed
        return len(closed) == len(customers)

    wait_for(all_closed, "closing every period")
    wrong = compare(
        customers, closed, url=env.portal_url, password=password, day=today(started), **used
    )
    return 1 if wrong else 0


def main() -> int:
    data: Path = settings.ENV.data_dir
    if not (data / "env").is_file():
        print(f"Start `make up` first: {data} holds no installation.", file=sys.stderr)  # noqa: T201
        return 2
    return run(password=(data / "secrets" / "demo_password").read_text().strip())


if __name__ == "__main__":
    sys.exit(main())
