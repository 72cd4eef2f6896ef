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
    press(page, "Create upstream")
    refused(page, "Targets")
    page.get_by_label("Targets").fill("http://127.0.0.1:9000")
    press(page, "Create upstream")


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
    page.get_by_label("or its text").fill("openapi: [")
    press(page, "Import")
    refused(page, "or its text (optional)")
    page.get_by_label("or its text").fill("")
    page.get_by_label("OpenAPI file (3.0 or 3.1)").set_input_files(OPENAPI)
    press(page, "Import")
    expect(page.get_by_role("region", name="Routes")).to_contain_text("/v1/countries")
    follow(page, "Edit")
    page.get_by_label("Published: customers see it").check()
    press(page, "Save")


def plan_make(page: Page) -> None:
    go(page, "Plans")
    page.get_by_role("link", name="New plan").first.click()
    page.get_by_label("Name", exact=True).fill("Growth")
    page.get_by_label("Short name").fill("growth")
    press(page, "Create plan")
    assert page.locator("[aria-invalid=true]").count() or "APIs it covers" in page.content()
    page.get_by_label("World Data").check()
    press(page, "Create plan")


def tiers_make(page: Page) -> None:
    press(page, "Graduated")
    page.get_by_label("Key", exact=True).fill("calls")
