"""What follows an invoice in the scene: a credit note issued, one that waits, a dispute."""

from datetime import datetime

from billing.models import CreditNote, Invoice, NoteReason
from billing.payments.stripe_adapter import collector
from billing.services.charges import dispute_apply
from billing.services.credit_notes import credit_note_approve, credit_note_draft
from billing.services.note_issue import credit_note_issue
from portal.clock import wall_now
from portal.models import User
from tests.e2e.installation import Outside
from tests.integration.stripe_double.conftest import in_process


def note_issued(*, invoice: Invoice, finance: User, at: datetime) -> CreditNote:
    """Correct an invoice's first line, approve it and issue it at the double."""
    line = invoice.lines.filter(amount_minor__gt=0).earliest("pk")
    note = credit_note_draft(
        invoice_id=invoice.pk,
        lines={line.line_key: line.amount_minor // 4},
        reason_code=NoteReason.OUTAGE,
        reason="Outage of the third, agreed on the phone.",
        actor=finance,
        now=at,
    )
    credit_note_approve(note_id=note.pk, content_hash=note.content_hash, actor=finance, now=at)
    return credit_note_issue(note_id=note.pk, collector=collector(), now=at, wall=wall_now())


def note_waiting(*, invoice: Invoice, finance: User, at: datetime) -> CreditNote:
    """Draft a goodwill that nobody has approved yet."""
    return credit_note_draft(
        invoice_id=invoice.pk,
        goodwill_minor=500,
        reason_code=NoteReason.AGREEMENT,
        reason="Thank you for the bug report.",
        actor=finance,
        now=at,
    )


def dispute_opened(*, outside: Outside, invoice: Invoice, at: datetime) -> None:
    """Let the cardholder question the charge at the double, and let the portal follow it."""
    bench = in_process(outside.double)
    remote_id = bench.dispute(bench.charge_of(invoice.stripe_invoice_id))
    assert dispute_apply(remote=collector().dispute_read(dispute_id=remote_id), now=at)
