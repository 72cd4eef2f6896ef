"""The developer's first journey: landing, sign-up, key, call, green. With and without script."""

import pytest
from django.core.cache import cache
from playwright.sync_api import expect

from gateway.contracts.access_log import Charge
from portal.clock import now
from portal.models import Credential
from portal.services.credentials import credential_reveal_test
from portal.usage import override
from tests.e2e.conftest import Visitor
from tests.factories.portal import PASSWORD, api, member, organization
from tests.fakes.request_log import FakeRequestLog

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(90)]


def call(log: FakeRequestLog, *, status: int, decision: str = "allow") -> None:
    """What the gateway would have recorded about the newcomer's call."""
    key = Credential.objects.select_related("consumer").get(environment="test")
    log.add(
        key.consumer.organization_id,
        at=now(),
        credential_id=key.pk,
        environment="test",
        charge=Charge.FREE,
        status=status,
        decision=decision,
        reason="test:2xx",
    )


@pytest.mark.parametrize("javascript", [True, False], ids=["script", "no script"])
def test_first_call(visitor: Visitor, javascript: bool) -> None:
    cache.clear()
    api()
    log = FakeRequestLog(now=now())
    with override(log):
        page = visitor.open("/", javascript=javascript)
        page.get_by_role("main").get_by_role("link", name="Get API key").click()
        page.get_by_label("E-mail address").fill("ada@example.test")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Create account").click()
        expect(page).to_have_url(f"{visitor.base_url}/start")
        key = Credential.objects.get(environment="test")
        expect(page.locator("#snippet-1")).to_contain_text(credential_reveal_test(credential=key))
        expect(page.get_by_text("Waiting for your first request")).to_be_visible()

        call(log, status=429, decision="rate_limited")
        if not javascript:
            page.get_by_role("button", name="Check again").click()
        expect(page.get_by_text("Too many calls in a short time.")).to_be_visible()

        call(log, status=200)
        if not javascript:
            page.get_by_role("button", name="Check again").click()
        expect(page.get_by_text("Your first call arrived.")).to_be_visible()
        expect(page.get_by_text("$0.00 (test)")).to_be_visible()


def test_a_key_is_copied_and_the_theme_kept(visitor: Visitor) -> None:
    api()
    page = visitor.open("/")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy").click()
    expect(page.locator("#live")).to_have_text("Copied")
    assert "YOUR_TEST_KEY" in page.evaluate("navigator.clipboard.readText()")
    page.get_by_label("Appearance").click()
    page.get_by_role("button", name="Dark").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_the_theme_form_works_without_script(visitor: Visitor) -> None:
    page = visitor.open("/", javascript=False)
    page.get_by_label("Appearance").click()
    page.get_by_role("button", name="Dark").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_the_skip_link_comes_first(visitor: Visitor) -> None:
    page = visitor.open("/styleguide", javascript=False, width=360)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#content")).to_be_focused()


def test_the_drawer_opens_by_keyboard(visitor: Visitor) -> None:
    """Also with forced colors, where the focus ring and the current page must stay visible."""
    who = member(organization())
    url = f"/app/{who.organization.slug}/keys"
    page = visitor.open(url, user=who.user, javascript=False, width=360)
    page.emulate_media(forced_colors="active")
    link = page.locator(".drawer").get_by_role("link", name="Usage")
    expect(link).to_be_hidden()
    page.locator(".drawer > summary").focus()
    page.keyboard.press("Enter")
    expect(link).to_be_visible()
    for _ in range(4):  # Home, Keys, Applications, Usage
        page.keyboard.press("Tab")
    expect(link).to_be_focused()
    assert link.evaluate("link => getComputedStyle(link).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Usage")
