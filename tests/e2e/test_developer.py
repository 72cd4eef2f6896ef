"""The developer after the first call: keys changed, usage read, invoices understood."""

import csv
import io

import pytest
from playwright.sync_api import expect

from billing.models import CustomerAccount
from portal.models import Credential
from tests.e2e.conftest import Visitor
from tests.e2e.installation import Outside
from tests.e2e.scene import Scene, build_scene
from tests.factories.portal import PASSWORD

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(150)]


@pytest.fixture
def scene(db: None, outside: Outside) -> Scene:
    return build_scene(outside)


@pytest.mark.parametrize("javascript", [True, False], ids=["script", "no script"])
def test_a_key_is_rotated_and_revoked(visitor: Visitor, scene: Scene, javascript: bool) -> None:
    page = visitor.open("/app/northwind/keys", user=scene.owner, javascript=javascript)
    page.get_by_role("link", name="Production server").click()
    page.get_by_role("link", name="Rotate").click()
    page.get_by_role("button", name="Create the new key").click()
    page.get_by_label("Password").fill(PASSWORD)  # a live key asks who it is; then it goes on
    page.get_by_role("button", name="Go on").click()
    secret = page.locator("#once-secret-value").inner_text()
    assert secret.startswith("tw_sbx_")  # what a live key is called in a sandbox
    page.get_by_label("I stored it").check()
    page.get_by_role("button", name="Done").click()
    assert secret not in page.content()
    old = Credential.objects.get(pk=scene.objects["key_id"])
    assert old.rotated_to is not None
    assert old.revoked_at is None

    page.goto(f"/app/northwind/keys/{old.pk}/revoke")
    page.get_by_role("button", name="Revoke key").click()
    old.refresh_from_db()
    assert old.revoked_at is not None


def test_usage_is_the_same_as_chart_table_and_file(visitor: Visitor, scene: Scene) -> None:
    page = visitor.open("/app/northwind/usage", user=scene.owner)
    expect(page.get_by_role("img", name="Requests by day")).to_be_visible()
    table = page.get_by_role("region", name="Usage", exact=True)
    days = table.locator("tbody tr td:nth-of-type(1)").all_inner_texts()
    total = table.locator("tfoot td").first.inner_text()
    assert sum(int(text.replace(",", "")) for text in days) == int(total.replace(",", ""))
    bars = page.locator("svg rect > title").all_text_contents()
    drawn = sum(int(text.rsplit(": ", 1)[1].split()[0].replace(",", "")) for text in bars)
    assert drawn == int(total.replace(",", ""))
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    rows = list(csv.DictReader(io.StringIO(download.value.path().read_text())))
    assert sum(int(row["requests"]) for row in rows) == int(total.replace(",", ""))


def test_an_invoice_leads_to_its_requests(visitor: Visitor, scene: Scene) -> None:
    page = visitor.open("/app/northwind/billing", user=scene.owner)
    invoices = page.get_by_role("region", name="Invoices", exact=True).first
    invoices.get_by_role("link", name=scene.objects["number"], exact=True).click()
    main = page.get_by_role("main")
    expect(main).to_contain_text("500 to 1500")
    billed = page.get_by_role("region", name="Usage statement").locator("tbody td.num").first
    figure = int(billed.inner_text().replace(",", ""))
    page.get_by_role("region", name="Lines").get_by_role("link").click()
    rows = page.locator("tbody tr", has_text="billed").all_inner_texts()
    assert sum(int(text.split()[-1].replace(",", "")) for text in rows) == figure


def test_a_card_is_left_on_the_hosted_page(visitor: Visitor, scene: Scene) -> None:
    page = visitor.open("/app/northwind/billing", user=scene.owner)
    page.get_by_role("button", name="Add or change the card").click()
    page.get_by_role("link", name="Go to the card page").click()
    assert page.url.startswith(scene.outside.stripe_url)
    page.get_by_label("Card number").fill("5555555555554444")
    held = CustomerAccount.objects.get(pk=scene.organization.pk)
    assert held.setup_session_id
