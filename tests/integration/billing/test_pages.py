"""Who may open which money page, and what finance's decisions do."""

import hashlib
import hmac
import json
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse

from billing.models import CreditNote, Finding, Invoice, NoteReason, WebhookInbox
from billing.services.credit_notes import credit_note_draft
from billing.services.findings import finding_open
from billing.services.invoices import invoice_advance
from portal.clock import wall_now
from portal.models import AuditEvent, StaffRole
from tests.factories.billing import JAN, Customer, customer, plan_version, user

pytestmark = pytest.mark.django_db
FINANCE = (
    "finance_board",
    "finance_review",
    "finance_invoices",
    "finance_payments",
    "finance_credits",
    "finance_disputes",
    "finance_findings",
)


def as_(person: object) -> Client:
    client = Client()
    client.force_login(person, backend="django.contrib.auth.backends.ModelBackend")  # type: ignore[arg-type]
    return client


def draft_of(who: Customer) -> Invoice:
    draft = invoice_advance(period_id=who.january.pk, now=JAN).invoice
    assert draft is not None
    return draft


def issued_of(who: Customer) -> Invoice:
    draft = draft_of(who)
    for state in ("approved", "issuing", "open"):
        Invoice.objects.filter(pk=draft.pk).update(state=state)
    Invoice.objects.filter(pk=draft.pk).update(number="2026-000001", issued_at=JAN)
    return Invoice.objects.get(pk=draft.pk)


@pytest.mark.parametrize("name", FINANCE)
def test_finance_pages_are_for_finance(name: str) -> None:
    who = customer()
    url = reverse(name)
    assert as_(user(staff_role=StaffRole.FINANCE)).get(url).status_code == 200
    assert as_(user(staff_role=StaffRole.ADMIN)).get(url).status_code == 200
    assert as_(who.owner).get(url).status_code == 403
    assert Client().get(url).status_code == 302


def test_a_customer_cannot_decide() -> None:
    who = customer()
    draft = draft_of(who)
    url = reverse("finance_decide", args=[draft.pk])
    answer = as_(who.owner).post(url, {"decision": "approve", "content_hash": draft.content_hash})
    assert answer.status_code == 403
    assert Invoice.objects.get(pk=draft.pk).state == "draft"


def test_finance_approves_what_it_saw() -> None:
    draft = draft_of(customer())
    client = as_(user(staff_role=StaffRole.FINANCE))
    url = reverse("finance_decide", args=[draft.pk])
    client.post(url, {"decision": "approve", "content_hash": "stale"})
    assert Invoice.objects.get(pk=draft.pk).state == "draft"
    refused = client.post(url, {"decision": "void"})
    assert refused.status_code == 422
    assert 'aria-describedby="reason_error"' in refused.content.decode()
    assert Invoice.objects.get(pk=draft.pk).state == "draft"
    page = client.get(reverse("finance_invoice", args=[draft.pk]))
    assert draft.content_hash in page.content.decode()
    client.post(url, {"decision": "approve", "content_hash": draft.content_hash})
    assert Invoice.objects.get(pk=draft.pk).state == "approved"


def test_own_invoices_only() -> None:
    who, stranger = customer(), customer(name="Other")
    invoice = issued_of(who)
    args = [who.organization.slug, invoice.number]
    for name in ("billing_invoice", "billing_invoice_pdf"):
        assert as_(who.owner).get(reverse(name, args=args)).status_code == 200
        assert as_(stranger.owner).get(reverse(name, args=args)).status_code == 404
    other = [stranger.organization.slug, invoice.number]
    assert as_(stranger.owner).get(reverse("billing_invoice", args=other)).status_code == 404


def test_drafts_are_hidden_from_the_customer() -> None:
    who = customer()
    draft_of(who)
    page = as_(who.owner).get(reverse("billing_home", args=[who.organization.slug]))
    assert "No invoice yet" in page.content.decode()


@pytest.mark.parametrize("name", ["org_home", "billing_home"])
def test_customer_pages_open(name: str) -> None:
    who = customer()
    url = reverse(name, args=[who.organization.slug])
    assert as_(who.owner).get(url).status_code == 200
    assert as_(user()).get(url).status_code == 404


def test_pricing_and_preview_show_the_rated_months() -> None:
    unblocked = {"quotas": [{"meter": "requests", "quota": 50_000, "block_at_percent": 0}]}
    who = customer(version=plan_version(limits=unblocked))
    page = Client().get(reverse("pricing")).content.decode()
    assert "49.00 USD per month, in advance" in page
    assert "589.00\xa0USD" in page  # 500,000 calls: 49 + 450 blocks at 1.20
    url = reverse("plan_preview", args=[who.version.pk])
    assert "50.20 USD" in as_(user(staff_role=StaffRole.ADMIN)).get(url).content.decode()


def test_the_export_has_stable_headers() -> None:
    who = customer(name="=Acme")
    draft_of(who)
    client = as_(user(staff_role=StaffRole.FINANCE))
    answer = client.get(reverse("finance_export", args=["invoices"]))
    text = b"".join(answer.streaming_content).decode()  # type: ignore[attr-defined]
    assert text.startswith("invoice_id,number,state,kind,organization_id,organization_name,")
    assert ",'=Acme," in text


@pytest.mark.parametrize(
    ("case", "age_s", "secret", "status"),
    [
        ("fresh", 0, "whsec_test", 200),
        ("stale", 400, "whsec_test", 400),
        ("from the future", -400, "whsec_test", 400),
        ("another secret", 0, "whsec_other", 400),
    ],
)
def test_webhooks_are_checked_on_both_sides(
    case: str, age_s: int, secret: str, status: int
) -> None:
    event = {
        "id": "evt_1",
        "object": "event",
        "type": "invoice.paid",
        "created": 1_700_000_000,
        "data": {"object": {"id": "in_1", "object": "invoice", "customer": "cus_1"}},
    }
    body = json.dumps(event).encode()
    stamp = str(int((wall_now() - timedelta(seconds=age_s)).timestamp()))
    digest = hmac.new(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    for _ in range(2):
        answer = Client(enforce_csrf_checks=True).post(
            "/webhooks/stripe",
            data=body,
            content_type="application/json",
            headers={"Stripe-Signature": f"t={stamp},v1={digest}"},
        )
        assert answer.status_code == status, case
    assert WebhookInbox.objects.count() == (1 if status == 200 else 0)


def paid_of(who: Customer) -> Invoice:
    invoice = issued_of(who)
    Invoice.objects.filter(pk=invoice.pk).update(state="paid", amount_paid_minor=4900)
    return Invoice.objects.get(pk=invoice.pk)


def test_finance_credits_an_invoice_and_approves_what_it_saw() -> None:
    invoice = paid_of(customer())
    line = invoice.lines.get()
    client = as_(user(staff_role=StaffRole.FINANCE))
    page = client.get(reverse("finance_invoice", args=[invoice.pk])).content.decode()
    url = reverse("finance_credit_new", args=[invoice.pk])
    assert url in page
    assert "Up to 49.00 USD" in client.get(url).content.decode()
    fields = {"reason_code": "outage", "reason": "Outage", "settlement": "refund"}
    for wrong in (
        {},
        {f"line-{line.pk}": "49.01"},
        {f"line-{line.pk}": "1.001"},
        {"goodwill": "x"},
    ):
        assert client.post(url, fields | wrong).status_code == 422
        assert not CreditNote.objects.exists()
    answer = client.post(url, fields | {f"line-{line.pk}": "9.50"})
    note = CreditNote.objects.get()
    own = reverse("finance_credit", args=[note.pk])
    assert answer.headers["Location"] == own
    assert (note.total_minor, note.settlement, note.state) == (950, "refund", "draft")
    assert "9.50 USD" in client.get(own).content.decode()
    assert note.content_hash in client.get(own).content.decode()
    decide = reverse("finance_credit_decide", args=[note.pk])
    client.post(decide, {"decision": "approve", "content_hash": "stale"})
    assert client.post(decide, {"decision": "void"}).status_code == 422
    assert CreditNote.objects.get().state == "draft"
    client.post(decide, {"decision": "approve", "content_hash": note.content_hash})
    assert CreditNote.objects.get().state == "approved"
    assert client.get(reverse("finance_credit_pdf", args=[note.pk])).content.startswith(b"%PDF")
    assert "9.50 USD" in client.get(reverse("finance_credits")).content.decode()


def test_a_draft_is_not_credited() -> None:
    draft = draft_of(customer())
    client = as_(user(staff_role=StaffRole.FINANCE))
    answer = client.get(reverse("finance_credit_new", args=[draft.pk]))
    assert answer.status_code == 302


def test_a_customer_sees_its_issued_notes_alone() -> None:
    who, stranger = customer(), customer(name="Other")
    invoice = paid_of(who)
    note = credit_note_draft(
        invoice_id=invoice.pk,
        goodwill_minor=500,
        reason_code=NoteReason.OUTAGE,
        reason="Sorry for the outage",
        now=JAN,
    )
    slug = who.organization.slug
    home = reverse("billing_home", args=[slug])
    page = reverse("billing_invoice", args=[slug, invoice.number])
    assert "Sorry for the outage" not in as_(who.owner).get(page).content.decode()
    for state in ("approved", "issuing", "issued"):
        CreditNote.objects.filter(pk=note.pk).update(state=state)
    CreditNote.objects.filter(pk=note.pk).update(number="CN-2026-000001", issued_at=JAN)
    assert "Sorry for the outage" in as_(who.owner).get(page).content.decode()
    assert "CN-2026-000001" in as_(who.owner).get(home).content.decode()
    pdf = reverse("billing_credit_pdf", args=[slug, "CN-2026-000001"])
    assert as_(who.owner).get(pdf).content.startswith(b"%PDF")
    assert as_(stranger.owner).get(pdf).status_code == 404
    own = reverse("billing_credit_pdf", args=[stranger.organization.slug, "CN-2026-000001"])
    assert as_(stranger.owner).get(own).status_code == 404


def test_a_confirmation_and_a_missing_card_are_told_on_the_pages() -> None:
    who = customer()
    invoice = issued_of(who)
    home = reverse("billing_home", args=[who.organization.slug])
    page = reverse("billing_invoice", args=[who.organization.slug, invoice.number])
    for wait, text in (("action", "asks you to confirm"), ("card", "a card that is no longer")):
        Invoice.objects.filter(pk=invoice.pk).update(
            waiting_for=wait, hosted_url="https://pay.example.test/i"
        )
        for url in (home, page):
            shown = as_(who.owner).get(url).content.decode()
            assert text in shown
            assert "https://pay.example.test/i" in shown
    finance = as_(user(staff_role=StaffRole.FINANCE)).get(reverse("finance_payments"))
    assert "A card" in finance.content.decode()


def test_findings_are_resolved_with_a_reason() -> None:
    who = customer()
    row = finding_open(
        key="k",
        kind="collector",
        detail="They differ",
        organization_id=who.organization.pk,
        now=JAN,
    )
    client = as_(user(staff_role=StaffRole.FINANCE))
    listed = reverse("finance_findings")
    assert "They differ" in client.get(listed).content.decode()
    url = reverse("finance_finding", args=[row.pk])
    refused = client.post(url, {"reason": " ", "back": "list"})
    assert refused.status_code == 422
    assert "Give a reason." in refused.content.decode()
    assert Finding.objects.get().resolved_at is None
    assert (
        client.post(url, {"reason": "Paid by wire", "back": "list"}).headers["Location"] == listed
    )
    assert Finding.objects.get().resolution == "Paid by wire"
    assert AuditEvent.objects.get(action="finding.resolve").reason == "Paid by wire"
