"""The pages of what follows an invoice: axe finds nothing, nothing overflows, light and dark."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from billing.models import CreditNote, Dispute, Invoice, NoteReason
from billing.services.credit_notes import credit_note_draft
from billing.services.findings import finding_open
from billing.services.invoices import invoice_advance
from tests.e2e.conftest import Visitor
from tests.e2e.test_pages_axe import LOOKS, violations
from tests.factories.billing import JAN, customer, finance_user

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize(("theme", "width"), LOOKS)
def test_pages(visitor: Visitor, fits: Callable[[Page], None], theme: str, width: int) -> None:
    who, finance = customer(tax="20"), finance_user()
    draft = invoice_advance(period_id=who.january.pk, now=JAN).invoice
    assert draft is not None
    for state in ("approved", "issuing", "open"):
        Invoice.objects.filter(pk=draft.pk).update(state=state)
    Invoice.objects.filter(pk=draft.pk).update(
        number="2026-000001", issued_at=JAN, waiting_for="action", hosted_url="https://pay.test/i"
    )
    notes = [
        credit_note_draft(
            invoice_id=draft.pk,
            lines={"base": 950},
            reason_code=NoteReason.OUTAGE,
            reason="Outage of 3 January, agreed on the phone",
            now=JAN,
        )
        for _ in range(2)
    ]
    for state in ("approved", "issuing", "issued"):
        CreditNote.objects.filter(pk=notes[0].pk).update(state=state)
    CreditNote.objects.filter(pk=notes[0].pk).update(number="CN-2026-000001", issued_at=JAN)
    Dispute.objects.create(
        organization=who.organization,
        invoice=draft,
        remote_id="du_1",
        charge_id="ch_1",
        amount_minor=5880,
        currency="USD",
        reason="fraudulent",
        status="needs_response",
        evidence_due_at=JAN,
        opened_at=JAN,
    )
    finding_open(
        key="k",
        kind="collector",
        detail="2026-000001: total is 5880 here and 5881 at the collector.",
        invoice=draft,
        now=JAN,
    )
    console = "/admin-console/finance"
    pages = {
        f"{console}/credits": finance,
        f"{console}/credits/{notes[1].pk}": finance,
        f"{console}/invoices/{draft.pk}/credit": finance,
        f"{console}/disputes": finance,
        f"{console}/reconcile": finance,
        f"{console}/payments": finance,
        f"/app/{who.organization.slug}/billing": who.owner,
        f"/app/{who.organization.slug}/billing/invoices/2026-000001": who.owner,
    }
    found: list[str] = []
    for path, person in pages.items():
        page = visitor.open(path, user=person, theme=theme, width=width)
        found += violations(page)
        fits(page)
    assert found == []
