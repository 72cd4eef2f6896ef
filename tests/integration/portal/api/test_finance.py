"""Finance's desk over the API: evidence, decisions by hash, exports, corrections, findings."""

import csv
import io
from datetime import timedelta

import pytest

from billing.models import CreditNote, Finding, Invoice
from billing.services.findings import finding_open
from billing.services.invoices import invoice_advance
from billing.services.issue import invoice_issue
from billing.services.note_issue import credit_note_issue
from portal.clock import wall_now
from portal.models import AuditEvent
from portal.usage import override
from tests.factories.billing import FEB, JAN, Customer, customer, finance_user
from tests.fakes.usage import FakeUsageReader
from tests.integration.billing.test_chain import close
from tests.integration.portal.api.described import Caller
from tests.integration.stripe_double.conftest import Bench

pytestmark = pytest.mark.django_db
LATER = FEB + timedelta(hours=2)


@pytest.fixture
def finance() -> Caller:
    return Caller(finance_user(), "read", "write", "finance")


def closed(who: Customer, units: int = 61_250) -> tuple[Invoice, FakeUsageReader]:
    """Close January: 49.00 and 12 blocks of 1,000 calls above 50,000 at 1.20."""
    reader = FakeUsageReader(complete_to=LATER)
    reader.add(who.subscription.pk, JAN, units)
    found = close(who, reader).invoice
    assert found is not None
    return found, reader


def issued(who: Customer, finance: Caller, bench: Bench) -> tuple[Invoice, FakeUsageReader]:
    draft, reader = closed(who)
    finance.post(f"finance/invoices/{draft.pk}/approve", {"content_hash": draft.content_hash})
    invoice_issue(invoice_id=draft.pk, collector=bench.collector, now=LATER, wall=wall_now())
    return Invoice.objects.get(pk=draft.pk), reader


def test_a_draft_is_reviewed_and_approved_by_its_hash(finance: Caller) -> None:
    draft, _ = closed(customer(tax="20"))
    (waiting,) = finance.get("finance/review")["results"]
    assert (waiting["id"], waiting["total_minor"], waiting["total"]) == (draft.pk, 7608, "76.08")
    one = f"finance/invoices/{draft.pk}"
    evidence = finance.get(one)
    assert [(x["line_key"], x["net_minor"]) for x in evidence["lines"]] == [
        ("base", 4900),
        ("calls", 1440),
    ]
    assert evidence["lines"][1]["quantity"] == "61250"
    assert {s["meter"] for s in evidence["snapshots"]} == {"requests"}
    stale = {"content_hash": "0" * 64}
    assert finance.refused("POST", f"{one}/approve", stale) == (409, "stale_approval")
    assert Invoice.objects.get().state == "draft"
    approved = finance.post(f"{one}/approve", {"content_hash": waiting["content_hash"]})
    assert (approved["state"], approved["approved_hash"]) == ("approved", draft.content_hash)
    assert finance.get("finance/review")["count"] == 0
    stages = {s["state"]: s for s in finance.get("finance/board")["stages"]}
    assert (stages["approved"]["count"], stages["approved"]["amounts"]) == (1, {"USD": 7608})


def test_a_draft_is_held_released_rerated_and_voided(finance: Caller) -> None:
    draft, _ = closed(customer())
    one = f"finance/invoices/{draft.pk}"
    assert finance.refused("POST", f"{one}/hold") == (422, "input_invalid")
    held = finance.post(f"{one}/hold", {"reason": "ask the customer"})
    assert (held["state"], held["hold_reason"]) == ("held", "ask the customer")
    body = {"content_hash": draft.content_hash}
    assert finance.refused("POST", f"{one}/approve", body) == (409, "invoice_state")
    assert finance.delete(f"{one}/hold")["state"] == "draft"
    assert finance.post(f"{one}/rerate")["content_hash"] == draft.content_hash
    assert finance.post(f"{one}/void", {"reason": "billed elsewhere"})["state"] == "void"
    assert finance.refused("POST", f"{one}/hold", {"reason": "x"}) == (409, "invoice_state")
    actions = list(AuditEvent.objects.order_by("id").values_list("action", flat=True))
    assert [a for a in actions if a in {"invoice.hold", "invoice.release", "invoice.void"}] == [
        "invoice.hold",
        "invoice.release",
        "invoice.void",
    ]


def test_clean_drafts_are_approved_together(finance: Caller) -> None:
    drafts = [invoice_advance(period_id=customer().january.pk, now=JAN).invoice for _ in range(3)]
    hashes = {d.pk: d.content_hash for d in drafts if d is not None}
    flagged = finance.post("finance/review/approve", {"hashes": hashes})
    assert flagged == {"approved": 0, "left_out": 3}  # each is a first invoice
    Invoice.objects.update(flags=[])
    stale = next(iter(hashes))
    found = finance.post("finance/review/approve", {"hashes": hashes | {stale: "0" * 64}})
    assert found == {"approved": 2, "left_out": 1}
    assert Invoice.objects.get(state="draft").pk == stale
    many = {f"inv_{n}": "x" for n in range(201)}
    assert finance.refused("POST", "finance/review/approve", {"hashes": many})[0] == 422


def test_exports_are_what_the_filters_show(finance: Caller) -> None:
    draft, _ = closed(customer(name="Acme"))
    closed(customer(name="Other"))
    for what, count in (("invoices", 1), ("lines", 2)):
        answer = finance.get(f"finance/exports/{what}.csv", q="Acme", state="draft")
        text = b"".join(answer.streaming_content).decode()
        rows = list(csv.DictReader(io.StringIO(text)))
        assert [row["invoice_id"] for row in rows] == [draft.pk] * count
    assert finance.refused("GET", "finance/exports/secrets.csv") == (404, "not_found")
    assert finance.get("finance/invoices", state="draft")["count"] == 2


def test_an_issued_invoice_is_credited_line_by_line(finance: Caller, bench: Bench) -> None:
    who = customer(tax="20")
    invoice, _ = issued(who, finance, bench)
    notes = f"finance/invoices/{invoice.number}/credit-notes"
    assert finance.get(notes)["lines"] == {"base": 4900, "calls": 1440}
    why = {"reason_code": "outage", "reason": "Outage of 3 January"}
    assert finance.refused("POST", notes, why) == (422, "input_invalid")
    too_much = why | {"lines": {"calls": 1441}}
    assert finance.refused("POST", notes, too_much)[1] == "credit_note_refused"
    assert CreditNote.objects.count() == 0
    note = finance.post(notes, why | {"lines": {"calls": 440}})
    assert (note["state"], note["total_minor"], note["tax_minor"]) == ("draft", 528, 88)
    one = f"finance/credit-notes/{note['id']}"
    stale = {"content_hash": "0" * 64}
    assert finance.refused("POST", f"{one}/approve", stale) == (409, "stale_approval")
    approved = finance.post(f"{one}/approve", {"content_hash": note["content_hash"]})
    assert approved["state"] == "approved"
    credit_note_issue(note_id=note["id"], collector=bench.collector, now=LATER, wall=wall_now())
    assert finance.get(one)["state"] == "issued"
    late = finance.refused("POST", f"{one}/void", {"reason": "x"})
    assert late == (409, "credit_note_state")
    gift = finance.post(notes, why | {"goodwill_minor": 100})
    assert finance.post(f"finance/credit-notes/{gift['id']}/void", {"reason": "no"})["state"] == (
        "void"
    )
    assert finance.get("finance/credit-notes", state="issued")["count"] == 1

    owner, org = Caller(who.owner), f"organizations/{who.organization.slug}"
    (seen,) = owner.get(f"{org}/credit-notes")["results"]
    assert (seen["invoice_number"], seen["total_minor"]) == (invoice.number, 528)
    assert "content_hash" not in seen
    document = owner.get(f"{org}/credit-notes/{seen['number']}/pdf")
    assert document.content.startswith(b"%PDF")


def test_four_totals_differ_and_the_finding_is_resolved(finance: Caller, bench: Bench) -> None:
    invoice, reader = issued(customer(), finance, bench)
    url = f"finance/invoices/{invoice.pk}/reconcile"
    with override(reader):
        equal = finance.post(url)
        assert (equal["differences"], equal["remote_minor"]) == ([], 6340)
        reader.add(invoice.subscription_id, JAN, 7)
        broken = finance.post(url)
    assert broken["meters"][0]["log_billed"] == "61257"
    assert len(broken["differences"]) == 1
    (finding,) = finance.get("finance/findings")["results"]
    one = f"finance/findings/{finding['id']}/resolve"
    assert finance.refused("POST", one) == (422, "input_invalid")
    resolved = finance.post(one, {"reason": "seven late calls"})
    assert resolved["resolution"] == "seven late calls"
    assert finance.post(one, {"reason": "again"}) == resolved
    assert AuditEvent.objects.filter(action="finding.resolve").count() == 1
    assert finance.get("finance/findings")["count"] == 0
    assert finance.get("finance/findings", all=1)["count"] == 1


def test_a_finding_of_nobody_has_no_invoice(finance: Caller) -> None:
    finding_open(key="k", kind="stripe_event", detail="unknown object", now=JAN)
    (row,) = finance.get("finance/findings")["results"]
    assert (row["organization"], row["invoice"]) == (None, None)
    assert Finding.objects.count() == 1
    assert finance.get("finance/payments")["count"] == 0
