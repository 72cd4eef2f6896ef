"""A whole month in seconds: sign-up, card, calls, alerts, upgrade, close, review, payment.

Real gateway, spool, sink and ClickHouse, the Stripe double over HTTP, the portal's own pages; one
simulated clock moves all of them. Every amount below is worked out by hand:

- Starter: 49.00 in advance, 50,000 units included, then 1.20 per 1,000.
- Scale: 199.00 in advance, 60,000 units included, then 0.90 per 1,000. Tax is 20 %. A call is
  100 units.
- 1 January: 49.00 + 9.80 = 58.80.
- 16 January, 16 of 31 days left: 49.00 x 16/31 = 25.290..., 199.00 x 16/31 = 102.709..., so
  102.71 - 25.29 = 77.42, tax 15.484 -> 15.48, together 92.90.
- Usage: 47,600 units before the change and 20,400 after it are 68,000: 8,000 beyond the 60,000,
  because what was used before counts on: 8 x 0.90 = 7.20, tax 1.44, together 8.64. Started
  afresh, 20,400 would cost nothing. Four answers of 404 are counted, three of 500 are free.
- 1 February: 199.00 + 39.80 = 238.80.
"""

import re
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.core import mail
from django.core.cache import cache
from django.test import Client
from django.urls import reverse

from billing.models import CheckoutState, Invoice, PlanCheckout
from billing.services.invoices import rerate_differences
from billing.services.plan_change import HOLD
from billing.services.reconcile import four_totals
from billing.services.review import invoice_approve
from portal import clock
from portal.models import (
    Api,
    BillingPeriod,
    Organization,
    Plan,
    PlanVersion,
    Route,
    StaffRole,
    Subscription,
    Upstream,
    UsageAlert,
)
from tests.clickhouse import Embedded
from tests.factories.billing import FEB, JAN, pro_terms, user
from tests.factories.portal import PASSWORD
from tests.integration.month.installation import (
    Installation,
    hidden_fields,
    installed,
    leave_card,
)
from tests.integration.stripe_double.conftest import Bench

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(240)]
MIDDLE = datetime(2026, 1, 16, tzinfo=UTC)
UNITS = 100
GOOD, UNKNOWN, BROKEN = "/v1/countries/de", "/v1/countries/zz", "/v1/faults/500"


def offer(upstream_url: str) -> None:
    """One API whose calls weigh 100 units, and two plans over it."""
    api = Api.objects.create(name="World", slug="world", is_published=True, created_at=JAN)
    upstream = Upstream.objects.create(name="world", targets={upstream_url: 1}, created_at=JAN)
    for name, path in (("countries", "/v1/countries/{code}"), ("faults", "/v1/faults/{status}")):
        Route.objects.create(
            api=api, upstream=upstream, name=name, path=path, methods=["GET"],
            units={"requests": UNITS}, created_at=JAN,
        )  # fmt: skip
    for rank, (slug, base, unit, quota) in enumerate(
        (("starter", "49.00", "1.20", 50_000), ("scale", "199.00", "0.90", 60_000))
    ):
        terms = pro_terms(base=base, unit=unit)
        terms["prices"][1]["tiers"][0]["up_to"] = str(quota)
        plan = Plan.objects.create(slug=slug, name=slug.title(), rank=rank, created_at=JAN)
        plan.apis.add(api)
        PlanVersion.objects.create(
            plan=plan, number=1, terms=terms, content_hash=slug, published_at=JAN, created_at=JAN,
            limits={"quotas": [{"meter": "requests", "quota": quota, "block_at_percent": 0}]},
        )  # fmt: skip


def sign_up(client: Client) -> Organization:
    """Sign up and confirm the address by the link in the mail."""
    cache.clear()  # sign-ups of other tests count against the same rate limit
    form = {"email": "ada@example.test", "password1": PASSWORD}
    assert client.post(reverse("account_signup"), form).status_code == 302
    (link,) = re.findall(r"https?://\S+/confirm-email/\S+", str(mail.outbox[0].body))
    client.post(urlsplit(link).path)
    mail.outbox.clear()
    organization = Organization.objects.get()
    Organization.objects.filter(pk=organization.pk).update(tax_rate_percent="20")
    organization.refresh_from_db()
    return organization


def subscribe(client: Client, organization: Organization) -> Subscription:
    """Review, agree, a refused card, a good card, back; reloading changes nothing."""
    chosen = client.get(reverse("plan_choose"), {"plan": "starter"})
    review = client.get(chosen.headers["Location"])
    assert "58.80" in review.content.decode()
    url = reverse("org_subscribe", args=[organization.slug])
    agreed = client.post(url, hidden_fields(review.content.decode(), url))
    checkout = PlanCheckout.objects.get()
    assert not Subscription.objects.exists()
    status, _ = leave_card(checkout.session_url, "4000 0000 0000 0069")
    assert status == 422  # refused there; nothing is made here
    left = client.get(agreed.headers["Location"] + "?left=1").content.decode()
    assert "No card was saved" in left
    assert not Subscription.objects.exists()
    status, back = leave_card(checkout.session_url, "4242 4242 4242 4242")
    assert status == 303
    for _ in range(2):
        page = client.get(urlsplit(back).path).content.decode()
        assert "You are on Starter" in page
        assert "visa ···· 4242" in page
    return Subscription.objects.get()


def live_key(client: Client, organization: Organization) -> str:
    form = {
        "name": "Production",
        "environment": "live",
        "consumer": organization.consumers.get().pk,
    }
    answer = client.post(reverse("key_new", args=[organization.slug]), form)
    if answer.status_code == 302:  # a live key asks who one is; the post is resumed afterwards
        where = answer.headers["Location"]
        answer = client.post(where, {"password": PASSWORD}, follow=True)
    found = re.search(r'id="once-secret-value">([^<]+)<', answer.content.decode())
    assert found is not None, answer.status_code
    return found[1]


def upgrade(client: Client, organization: Organization) -> None:
    """Preview and confirm; the instant is midnight, because the clock is put where it must be."""
    url = reverse("org_plan_confirm", args=[organization.slug])
    page = client.get(url, {"plan": "scale"}).content.decode()
    for amount in ("-25.29", "102.71", "15.48", "92.90", "199.00", "39.80"):
        assert amount in page, amount
    fields = hidden_fields(page, url)
    assert fields["at"] == "2026-01-16T00:00:00.000000Z"
    for _ in range(2):  # a double click
        assert client.post(url, fields).status_code == 302
    assert (
        "Changes to Scale on"
        in client.get(reverse("org_plan", args=[organization.slug])).content.decode()
    )


def send_all(run: Installation, finance: Any) -> None:
    """Finance approves what waits; the worker issues it and collects."""
    run.beat()
    for draft in Invoice.objects.filter(state="draft"):
        invoice_approve(
            invoice_id=draft.pk,
            content_hash=draft.content_hash,
            actor=finance,
            now=clock.now(),
        )
    for _ in range(3):
        run.beat()


def first_half(run: Installation, client: Client, organization: Organization, key: str) -> None:
    """Cross 80 and 95 % of 50,000; mails and the plan page say so."""
    subscription = Subscription.objects.get()
    run.step(JAN + timedelta(days=9))
    assert set(run.calls(GOOD, key, 476)) == {200}
    run.step(JAN + timedelta(days=10))
    run.recorded(subscription.pk, 47_600, start=JAN)
    run.beat()
    assert [m.subject for m in mail.outbox] == [
        "Invoice 2026-000001 over 58.80 USD",
        "80 % of your requests quota is used",
        "95 % of your requests quota is used",
    ]
    page = client.get(reverse("org_plan", args=[organization.slug])).content.decode()
    assert "47,600 of 50,000 used, 95 %" in page
    assert "More than 95 % of the requests quota is used." in page


def second_half(run: Installation, key: str) -> None:
    """Use the larger plan; its own thresholds warn again."""
    subscription = Subscription.objects.select_related("plan").get()
    assert subscription.plan.slug == "scale"
    assert set(run.calls(GOOD, key, 204)) == {200}
    assert set(run.calls(UNKNOWN, key, 4)) == {404}
    assert set(run.calls(BROKEN, key, 3)) == {500}
    run.step(MIDDLE + timedelta(days=1))
    run.recorded(subscription.pk, 68_400, start=JAN)
    run.beat()
    assert UsageAlert.objects.filter(quota=60_000).count() == 2
    assert [m.subject[:4] for m in mail.outbox[3:]] == ["Invo", "80 %", "95 %"]


def month_end(run: Installation) -> None:
    """Step over the end and wait until the log is proven complete and the period closed."""
    closing = BillingPeriod.objects.get(number=0)
    run.step(FEB + timedelta(seconds=5))
    deadline = time.monotonic() + 30
    while closing.closed_at is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)
        run.beat()
        closing.refresh_from_db()


def test_a_month_in_seconds(
    tmp_path: Path, clickhouse: Embedded, http_bench: Bench, upstream_url: str
) -> None:
    offer(upstream_url)
    finance = user(staff_role=StaffRole.FINANCE)
    with installed(tmp_path / "data", clickhouse=clickhouse, bench=http_bench) as run:
        run.begin(JAN)
        client = Client()
        organization = sign_up(client)
        subscription = subscribe(client, organization)
        assert (subscription.starts_at, subscription.billing_anchor) == (JAN, JAN)
        key = live_key(client, organization)
        run.publish()
        send_all(run, finance)
        assert PlanCheckout.objects.get().state == CheckoutState.DONE
        assert Subscription.objects.count() == 1  # the webhook came after the return

        first_half(run, client, organization, key)
        run.step(MIDDLE - HOLD - timedelta(seconds=2))
        upgrade(client, organization)
        run.publish()
        run.step(MIDDLE + timedelta(hours=1))
        send_all(run, finance)
        second_half(run, key)
        month_end(run)
        send_all(run, finance)
        check_books(run, subscription)


def check_books(run: Installation, subscription: Subscription) -> None:
    """Every line to the cent, every invoice paid, four totals equal."""
    rows = list(Invoice.objects.filter(subscription=subscription).order_by("period__number", "n"))
    assert [(i.period.number, i.kind, i.state, i.total_minor) for i in rows] == [
        (0, "advance", "paid", 5880),
        (0, "advance", "paid", 9290),
        (0, "period", "paid", 864),
        (1, "advance", "paid", 23880),
    ]
    january = rows[:3]
    lines = [[(x.line_key, x.net_minor) for x in i.lines.all() if x.net_minor] for i in january]
    assert lines == [
        [("base", 4900)],
        [("base:unused", -2529), ("base@2026-01-16T00:00:00Z", 10271)],
        [("calls@2026-01-16T00:00:00Z", 720)],
    ]
    calls = january[2].lines.get(line_key="calls@2026-01-16T00:00:00Z")
    assert calls.quantity == Decimal(20_400)
    assert [i.tax_minor for i in january] == [980, 1548, 144]
    for invoice in rows:
        totals = four_totals(invoice=invoice, reader=run.reader, collector=run.bench.collector)
        assert totals.differences == ()
        assert not rerate_differences(invoice=invoice)
    assert run.bench.counts()["charge"] == 4
    proofs = run.reader.proofs()
    assert [(p.missing, p.duplicates, p.dead_letters) for p in proofs] == [(0, 0, 0)]
