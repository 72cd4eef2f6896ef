"""The provider's plan editor and customers in a real browser; usable without scripts.

That every page is accessible is asserted by `test_pages_axe.py`.
"""

from collections.abc import Callable

import pytest
from django.urls import reverse
from playwright.sync_api import Page

from portal.models import Api, PlanVersion, Subscription
from portal.services.audit import audit_record
from portal.services.plans import plan_version_save
from tests.e2e.conftest import Visitor
from tests.e2e.test_pages_axe import LOOKS, violations
from tests.factories.provider import NOW, make_user
from tests.integration.portal.test_admin_pages import (
    Console,
    make_installation,
    sign_in,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]


def console_with_a_long_draft() -> Console:
    """Return an installation whose draft has every kind of row, and a problem."""
    console = Console(sign_in(make_user()), make_installation())
    plan_version_save(
        version=PlanVersion.objects.get(pk=console.objects["version_id"]),
        terms={
            "prices": [
                {"key": "base", "model": "flat", "amount": "49.00"},
                {
                    "key": "calls",
                    "model": "graduated",
                    "meter": "requests",
                    "tiers": [
                        {"up_to": "50000", "unit_amount": "0"},
                        {"up_to": "40000", "unit_amount": "0.002"},
                        {"unit_amount": "0.0015"},
                    ],
                },
            ]
        },
        limits={
            "quotas": [{"meter": "requests", "quota": "50000", "block_at_percent": "0"}],
            "rate_limits": [{"name": "burst", "rate": "10", "per_s": "1", "burst": "20"}],
        },
        currency="USD",
        trial_days=14,
        past_due_grace_days=7,
        actor=None,
        now=NOW,
    )
    audit_record(actor=None, action="plan.update", target="pln_1", now=NOW, reason="a reason")
    return console


@pytest.mark.parametrize(("theme", "width"), LOOKS)
def test_a_draft_with_a_problem_is_accessible(
    visitor: Visitor, fits: Callable[[Page], None], theme: str, width: int
) -> None:
    console = console_with_a_long_draft()
    page = visitor.open(console.url("admin_version"), user=make_user(), theme=theme, width=width)
    assert page.locator("[aria-invalid=true]").count() == 1
    assert violations(page) == []
    fits(page)


def test_a_tier_is_corrected_and_published_without_scripts(visitor: Visitor) -> None:
    console = console_with_a_long_draft()
    page = visitor.open(console.url("admin_version"), user=make_user(), javascript=False)
    wrong = page.locator("[aria-invalid=true]")
    assert wrong.count() == 1
    page.get_by_role("button", name="Save and publish").click()
    assert "problems" in (page.text_content("main") or "")
    page.locator("[aria-invalid=true]").fill("60000")
    page.get_by_role("button", name="Add a tier").click()
    page.get_by_role("button", name="Remove tier 3").click()
    page.get_by_role("button", name="Save and publish").click()
    page.get_by_role("button", name="Publish").click()
    version = PlanVersion.objects.get(pk=console.objects["version_id"])
    assert version.published_at is not None
    tiers = version.terms["prices"][1]["tiers"]
    assert [tier.get("up_to") for tier in tiers] == ["50000", "60000", None]


def test_a_customer_is_found_and_subscribed(visitor: Visitor) -> None:
    console = console_with_a_long_draft()
    Subscription.objects.get().segments.all().delete()
    Subscription.objects.all().delete()
    page = visitor.open(reverse("admin_home"), user=make_user())
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Customers").click()
    page.get_by_label("Search").fill("acme")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name="Acme").click()
    page.get_by_role("link", name="Subscribe").click()
    page.get_by_label("Plan version").select_option(index=1)
    page.get_by_role("button", name="Subscribe").click()
    assert "Active" in (page.text_content("main") or "")
    assert Subscription.objects.get().organization_id == console.objects["organization_id"]
    assert Api.objects.exists()
