"""The admin's journey: an empty installation becomes a published API with a paying customer."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from portal.clock import now, wall_now
from portal.models import PlanVersion, Role, Route, Subscription
from portal.services.nodes import node_poll_record
from portal.snapshots import snapshot_publish
from tests.e2e.conftest import Visitor
from tests.e2e.installation import Outside
from tests.factories.portal import member, organization
from tests.factories.provider import make_user

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(150)]
OPENAPI = Path(__file__).parents[2] / "deploy" / "demo" / "openapi.yaml"


def refused(page: Page, label: str) -> None:
    """Assert that the form came back with the error at this field, tied to it."""
    field = page.get_by_label(label, exact=True)
    expect(field).to_have_attribute("aria-invalid", "true")
    error = (field.get_attribute("aria-describedby") or "").split()[-1]
    expect(page.locator(f"#{error}")).not_to_be_empty()


def press(page: Page, name: str) -> None:
    page.get_by_role("main").get_by_role("button", name=name, exact=True).click()


def follow(page: Page, name: str) -> None:
    page.get_by_role("main").get_by_role("link", name=name, exact=True).first.click()


def go(page: Page, name: str) -> None:
    nav = page.get_by_role("navigation", name="Main")
    nav.get_by_role("link", name=name, exact=True).click()


def upstream_make(page: Page) -> None:
    go(page, "Overview")
    follow(page, "Upstreams")
    follow(page, "New upstream")
    page.get_by_label("Short name").fill("world-data")
    page.get_by_label("Targets").fill("ftp://127.0.0.1:9000")
    press(page, "Save upstream")
    refused(page, "Targets")
    page.get_by_label("Targets").fill("http://127.0.0.1:9000")
    press(page, "Save upstream")


def api_make(page: Page) -> None:
    go(page, "APIs")
    page.get_by_role("link", name="New API").first.click()
    page.get_by_label("Name", exact=True).fill("World Data")
    page.get_by_label("Short name").fill("World Data!")
    press(page, "Create API")
    refused(page, "Short name")
    page.get_by_label("Short name").fill("world-data")
    press(page, "Create API")
    page.get_by_role("main").get_by_role("link", name="Import OpenAPI").first.click()
    page.get_by_label("Upstream").select_option(label="world-data")
    page.get_by_label("Or its text").fill("openapi: [")
    press(page, "Import")
    refused(page, "Or its text (optional)")
    page.get_by_label("Or its text").fill("")
    page.get_by_label("OpenAPI file (3.0 or 3.1)").set_input_files(OPENAPI)
    press(page, "Import")
    expect(page.get_by_role("region", name="Routes").last).to_contain_text("/v1/countries")
    follow(page, "Edit")
    page.get_by_label("Published: customers see it").check()
    press(page, "Save")


def plan_make(page: Page) -> None:
    go(page, "Plans")
    page.get_by_role("link", name="New plan").first.click()
    page.get_by_label("Name", exact=True).fill("Growth")
    page.get_by_label("Short name").fill("Not a name")
    page.get_by_label("World Data").check()
    press(page, "Save plan")
    refused(page, "Short name")
    page.get_by_label("Short name").fill("growth")
    press(page, "Save plan")
    press(page, "New version")


def cell(page: Page, name: str, value: str) -> None:
    page.locator(f'[name="{name}"]').fill(value)


def prices_make(page: Page) -> None:
    """Type a fee and three tiers; an overlap and a gap are refused at their row."""
    press(page, "Flat fee")
    cell(page, "prices-0-key", "base")
    cell(page, "prices-0-amount", "49.00")
    press(page, "Graduated tiers")
    cell(page, "prices-1-key", "calls")
    meter = page.locator('select[name="prices-1-meter"]')
    meter.select_option(value="requests")
    while page.locator('[name^="prices-1-tiers-"][name$="-up_to"]').count() < 3:
        press(page, "Add a tier")
    for row, (up_to, price) in enumerate((("500", "0"), ("400", "0.12"), ("", "0.09"))):
        cell(page, f"prices-1-tiers-{row}-up_to", up_to)
        cell(page, f"prices-1-tiers-{row}-unit_amount", price)
    press(page, "Save draft")
    wrong = page.locator("[aria-invalid=true]")
    expect(wrong).to_have_count(1)
    expect(wrong).to_have_attribute("name", "prices-1-tiers-1-up_to")  # the overlap
    cell(page, "prices-1-tiers-1-up_to", "")  # an end in the middle leaves a gap after it
    press(page, "Save and publish…")
    names = page.locator("[aria-invalid=true]").evaluate_all("rows => rows.map(row => row.name)")
    assert names
    assert all(name.startswith("prices-1-tiers-") for name in names)
    assert not PlanVersion.objects.filter(published_at__isnull=False).exists()
    cell(page, "prices-1-tiers-1-up_to", "1500")
    press(page, "Save draft")
    examples = page.get_by_role("region", name="Worked examples").last
    expect(examples).to_contain_text("49.00 USD")
    expect(examples).to_contain_text("109.00 USD")  # 1,000 calls: 49 and 500 at 0.12
    press(page, "Save and publish…")
    press(page, "Publish")


@pytest.mark.parametrize("javascript", [True, False], ids=["script", "no script"])
def test_from_nothing_to_a_customer(visitor: Visitor, outside: Outside, javascript: bool) -> None:
    visitor.expected = ("422 (Unprocessable",)  # a refused form says so
    buyer = organization(name="Northwind", slug="northwind")
    member(buyer, role=Role.OWNER)
    page = visitor.open("/admin-console", user=make_user(), javascript=javascript)
    upstream_make(page)
    api_make(page)
    assert Route.objects.count() >= 5
    plan_make(page)
    prices_make(page)

    go(page, "Customers")
    follow(page, "Northwind")
    follow(page, "Subscribe")
    press(page, "Subscribe")
    choice = page.get_by_label("Plan version")  # the browser itself asks for one
    assert choice.evaluate("select => select.validity.valueMissing")
    choice.select_option(index=1)
    press(page, "Subscribe")
    expect(page.get_by_role("region", name="Subscriptions").last).to_contain_text("Active")
    assert Subscription.objects.get().organization == buyer

    version = snapshot_publish(now=now())
    node_poll_record(
        node_id="gateway-1",
        boot="b1",
        worker=0,
        acknowledged_version=version,
        refused_version=None,
        refused_reason="",
        now=now(),
        wall=wall_now(),
    )
    go(page, "Gateways")
    expect(page.get_by_role("main")).to_contain_text("gateway-1")
    expect(page.get_by_role("region", name="Boots")).to_contain_text(str(version))
    go(page, "Overview")
    expect(page.get_by_role("main")).to_contain_text("5 of 5")
