"""The plan from choosing to changing, in a browser, with and without script; and its looks."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from unittest.mock import patch

import pytest
from django.conf import settings
from playwright.sync_api import Page, expect

from portal import clock
from portal.models import Api, Membership, PlanVersion, Role, Subscription
from portal.services.subscriptions import subscription_create
from portal.usage import override
from tests.e2e.conftest import Visitor
from tests.e2e.test_pages_axe import LOOKS, violations
from tests.factories.billing import plan_version, pro_terms
from tests.factories.portal import api, consumer, member, organization
from tests.fakes.request_log import FakeRequestLog
from tests.integration.stripe_double.conftest import Bench, double, http_bench

__all__ = ["double", "http_bench"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]


def offer(slug: str, base: str, rank: int, quota: int) -> PlanVersion:
    terms = pro_terms(base=base)
    terms["prices"][1]["tiers"][0]["up_to"] = str(quota)
    limits = {
        "quotas": [{"meter": "requests", "quota": quota, "block_at_percent": 0}],
        "rate_limits": [{"name": "burst", "rate": 200, "per_s": 1, "burst": 400}],
    }
    version = plan_version(slug=slug, terms=terms, limits=limits, rank=rank)
    version.plan.apis.set(Api.objects.all())
    return version


@pytest.fixture
def owner(db: None) -> Iterator[Membership]:
    """An owner of an organization without a plan, and two plans to choose from."""
    api()
    offer("starter", "49.00", 1, 50_000)
    offer("scale", "199.00", 2, 250_000)
    org = organization(name="Northwind", slug="northwind")
    consumer(org)
    with override(FakeRequestLog(now=clock.now())):
        yield member(org, role=Role.OWNER, email="ada@northwind.example")


@pytest.mark.parametrize("javascript", [True, False], ids=["script", "no script"])
def test_subscribe_by_card_then_change(
    visitor: Visitor, owner: Membership, http_bench: Bench, javascript: bool
) -> None:
    portal_url = settings.ENV.model_copy(update={"portal_url": visitor.base_url})
    with (
        patch("billing.payments.stripe_adapter._collector_of", lambda pid: http_bench.collector),
        patch.object(settings, "ENV", portal_url),
    ):
        page = visitor.open("/pricing", user=owner.user, javascript=javascript)
        page.get_by_role("link", name="Choose Starter").click()
        expect(page.get_by_text("every month, next on")).to_be_visible()
        page.get_by_role("button", name="Agree and leave a card").click()
        page.get_by_role("link", name="Go to the card page").click()
        visitor.expected = ("422",)
        page.get_by_label("Card number").fill("4000000000000069")
        page.get_by_role("button", name="Save card").click()
        expect(page.get_by_text("Your card has expired.")).to_be_visible()
        page.get_by_role("link", name="Cancel and go back").click()
        expect(page.get_by_role("heading", name="No card was saved")).to_be_visible()
        assert not Subscription.objects.exists()
        page.get_by_role("link", name="Try another card").click()
        page.get_by_label("Card number").fill("4242424242424242")
        page.get_by_role("button", name="Save card").click()
        expect(page.get_by_role("heading", name="You are on Starter")).to_be_visible()
        page.reload()
        expect(page.get_by_role("link", name="Create a live key")).to_be_visible()
        assert Subscription.objects.count() == 1
        page.get_by_role("link", name="See the plan").click()
        page.get_by_role("link", name="Change plan").click()
        page.get_by_role("link", name="Preview Scale").click()
        page.get_by_role("button", name="Change the plan for").click()
        expect(page.get_by_text("Changes to Scale on")).to_be_visible()


@pytest.mark.parametrize(("theme", "width"), LOOKS)
def test_looks(
    visitor: Visitor, fits: Callable[[Page], None], owner: Membership, theme: str, width: int
) -> None:
    found = []
    base = "/app/northwind"
    for path in ("/pricing", f"{base}/plan/subscribe?plan=starter", f"{base}/plan", base):
        page = visitor.open(path, user=owner.user, theme=theme, width=width)
        found += violations(page)
        fits(page)
    subscription_create(
        organization=owner.organization,
        version=PlanVersion.objects.get(plan__slug="starter"),
        actor=None,
        now=clock.now() - timedelta(days=10),
    )
    change = f"{base}/plan/change"
    confirm = f"{change}/confirm?plan=scale"
    for path in (base, f"{base}/plan", change, confirm, f"{base}/plan/cancel"):
        page = visitor.open(path, user=owner.user, theme=theme, width=width)
        found += violations(page)
        fits(page)
    assert found == []
