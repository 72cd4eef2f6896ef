"""Finance's month end in a browser: queue, evidence, decisions, issuing, payment, export.

Drafts come from real closes over a real usage engine; issuing and payment go over HTTP to the
double of Stripe.
"""

import csv
import io
from decimal import Decimal

import pytest
from playwright.sync_api import Page, expect

from billing.models import Invoice
from portal.clock import now
from tests.e2e.conftest import Visitor
from tests.e2e.installation import Outside, work
from tests.e2e.scene import Scene, build_scene
from tests.factories.portal import PASSWORD

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(150)]


@pytest.fixture
def scene(db: None, outside: Outside) -> Scene:
    return build_scene(outside)


def sign_in(visitor: Visitor, scene: Scene, *, javascript: bool) -> Page:
    visitor.expected = ("422",)  # a refused form says so
    page = visitor.open("/accounts/login/?next=/admin-console/finance", javascript=javascript)
    page.get_by_label("E-mail address").fill(scene.finance.email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Close board")
    return page


def row_of(page: Page, *words: str) -> str:
    """Return the text of the queue's row that holds every word."""
    rows = page.get_by_role("row").all_inner_texts()
    return next(text for text in rows if all(word in text for word in words))


@pytest.mark.parametrize("javascript", [True, False], ids=["script", "no script"])
def test_drafts_become_paid_invoices(visitor: Visitor, scene: Scene, javascript: bool) -> None:
    page = sign_in(visitor, scene, javascript=javascript)
    page.get_by_role("link", name="Review drafts").click()
    kestrel = row_of(page, "Kestrel Air", "Period")
    assert "Usage changed by more than 50 %" in kestrel
    assert "+" in kestrel
    assert "EUR" in kestrel
    assert "the same" in row_of(page, "Lumen Retail")

    page.locator("tr", has_text="Usage changed").get_by_role("link").click()
    expect(page.get_by_role("heading", name="Usage statement")).to_be_visible()
    expect(page.get_by_role("region", name="Billed requests by route")).to_contain_text(
        "countries"
    )
    page.get_by_role("button", name="Hold", exact=True).click()
    expect(page.get_by_role("alert")).to_have_text("Give a reason.")
    assert Invoice.objects.filter(state="held").count() == 1  # the scene's own
    page.get_by_label("Reason").fill("Ask whether the jump is meant.")
    page.get_by_role("button", name="Hold", exact=True).click()
    expect(page.get_by_role("main")).to_contain_text("Ask whether the jump is meant.")

    page.get_by_role("link", name="Review queue").first.click()
    page.locator("tr", has_text="Late usage").get_by_role("link").click()
    page.get_by_label("Reason").fill("Their gateway was replayed by mistake.")
    page.get_by_role("button", name="Void", exact=True).click()
    expect(page.get_by_role("main")).to_contain_text("Their gateway was replayed by mistake.")

    page.get_by_role("link", name="Review queue").first.click()
    clean = Invoice.objects.filter(state="draft", flags=[]).count()
    assert clean >= 5
    page.get_by_role("button", name=f"Approve {clean} clean drafts").click()
    expect(page.get_by_role("status").first).to_contain_text(f"{clean} drafts approved")
    assert Invoice.objects.filter(state="approved").count() == clean
    assert not Invoice.objects.filter(state="approved").exclude(flags=[]).exists()

    work(now(), advance=False)
    assert not Invoice.objects.filter(state__in=("approved", "issuing")).exists()
    page.goto("/admin-console/finance/invoices?state=paid")
    assert page.locator("tbody tr").count() == Invoice.objects.filter(state="paid").count()
    for invoice in Invoice.objects.exclude(stripe_invoice_id=""):
        assert invoice.stripe_total_minor == invoice.total_minor

    with page.expect_download() as download:
        page.get_by_role("link", name="Invoices as CSV").click()
    rows = list(csv.DictReader(io.StringIO(download.value.path().read_text())))
    exported = sorted(f"{Decimal(row['total']):,.2f} {row['currency']}" for row in rows)
    shown = page.locator("tbody tr td:nth-of-type(4)").all_inner_texts()
    assert exported == sorted(text.replace("\xa0", " ") for text in shown)
    assert len(rows) >= clean


def test_the_queue_by_keyboard(visitor: Visitor, scene: Scene) -> None:
    page = visitor.open("/admin-console/finance/review", user=scene.finance)
    names = page.locator("[data-queue] th a")
    page.keyboard.press("j")
    expect(names.nth(0)).to_be_focused()
    page.keyboard.press("j")
    expect(names.nth(1)).to_be_focused()
    page.keyboard.press("k")
    expect(names.nth(0)).to_be_focused()
    row = page.locator("[data-queue] > tr", has=page.get_by_role("button")).first
    href = row.locator("th a").get_attribute("href") or ""
    row.locator("th a").focus()
    page.keyboard.press("a")
    expect(page.get_by_role("status").first).to_contain_text("Approved")
    assert Invoice.objects.get(pk=href.rsplit("/", 1)[-1]).state == "approved"
    page.wait_for_load_state()  # the keys work once the module has run
    page.keyboard.press("j")
    expect(names.nth(0)).to_be_focused()
    page.keyboard.press("h")
    page.wait_for_url("**/invoices/*#reason")
    expect(page.get_by_label("Reason")).to_be_focused()
