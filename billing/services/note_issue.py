"""Issues approved credit notes through the collector, resumable like an invoice's issuing.

claim and number → the collector's note → compare → issued, ledger, document, notice. The
collector is found to have it already wherever an answer was lost; a difference stops the note
with an alarm and waits for a person.
"""

from datetime import datetime

from django.db import transaction

from billing.errors import CollectorRefusedError, CreditNoteStateError
from billing.locks import numbering_take
from billing.models import CreditNote, MovementKind, NoteSettlement, Outbox, OutboxState
from billing.payments.port import FullCollector, RemoteCreditNote
from billing.services.billing_mail import app_url, billing_mail_send
from billing.services.credit_notes import credit_note_move
from billing.services.documents import note_pdf_store
from billing.services.ledger import movement_record
from billing.services.money_text import amount_text
from billing.services.outbox import Step, outbox_call
from billing.services.payments import remote_apply
from billing.states import CREDITABLE, NoteState
from portal.queue import enqueue_on_commit


def credit_note_issue(
    *, note_id: str, collector: FullCollector, now: datetime, wall: datetime
) -> CreditNote:
    """Advance one note from approved to issued; every other state is left as it is.

    :raises CollectorBusyError: and :raises CollectorUnavailableError: the scan runs it again.
    """
    note = _claim(note_id, now)
    if note.state != NoteState.ISSUING or note.alarm:
        return note
    applied_minor = 0
    if note.total_minor:
        remote = _remote_ensure(note, collector, wall)
        if remote is None or remote.total_minor != note.total_minor:
            if remote is not None:
                text = f"Total: ours {note.total_minor}, the collector's {remote.total_minor}."
                note_alarm(note=note, text=text)
            return note
        applied_minor = remote.applied_minor
        CreditNote.objects.filter(pk=note.pk).update(stripe_credit_note_id=remote.id)
    _issued(note, applied_minor, now)
    if note.total_minor:
        remote_id = note.invoice.stripe_invoice_id
        remote_apply(
            invoice=note.invoice, remote=collector.invoice_read(remote_id=remote_id), now=now
        )
    return note


def _claim(note_id: str, now: datetime) -> CreditNote:
    """Take the note for one worker and give it its number; a lost race changes nothing."""
    with transaction.atomic():
        note = CreditNote.objects.select_related(
            "invoice__organization", "invoice__period", "invoice__plan_version__plan"
        ).get(pk=note_id)
        if note.state != NoteState.APPROVED or note.alarm:
            return note
        if note.approved_hash != note.content_hash or note.invoice.state not in CREDITABLE:
            note_alarm(note=note, text=f"Not as approved, or the invoice is {note.invoice.state}.")
            return note
        try:
            credit_note_move(
                note=note,
                target=NoteState.ISSUING,
                action="credit_note.issue",
                now=now,
                number=note.number or f"CN-{now:%Y}-{numbering_take(f'CN-{now:%Y}'):06d}",
                issued_at=now,
            )
        except CreditNoteStateError:
            transaction.set_rollback(True)  # the number goes back: another worker has claimed it
    return note


def note_step(*, note: CreditNote) -> Step:
    """Return the outward call of a note; its key never changes."""
    return Step(invoice=note.invoice, name="credit", body_hash=note.content_hash, suffix=note.pk)


def _remote_ensure(
    note: CreditNote, collector: FullCollector, wall: datetime
) -> RemoteCreditNote | None:
    """Make the note at the collector, or find it there; None where it was refused."""
    remote_id, step = note.invoice.stripe_invoice_id, note_step(note=note)

    def look() -> RemoteCreditNote | None:
        rows = collector.credit_note_list(remote_id=remote_id)
        return next((r for r in rows if r.metadata.get("credit_note_id") == note.pk), None)

    try:
        return outbox_call(
            step=step,
            wall=wall,
            look=look,
            call=lambda key: collector.credit_note_create(
                key=key,
                remote_id=remote_id,
                credit_note_id=note.pk,
                amount_minor=note.total_minor,
                reason=f"{note.number}: {note.reason}",
                refund=note.settlement == NoteSettlement.REFUND,
            ),
        )
    except CollectorRefusedError as error:
        found = look()
        if found is None:
            note_alarm(note=note, text=str(error))
            return None
        Outbox.objects.filter(pk=step.key).update(state=OutboxState.DONE)
        return found


def _issued(note: CreditNote, applied_minor: int, now: datetime) -> None:
    """Record what was done with the money; run again it changes nothing."""
    note_pdf_store(note=note)
    with transaction.atomic():
        try:
            credit_note_move(
                note=note,
                target=NoteState.ISSUED,
                action="credit_note.issued",
                now=now,
                applied_minor=applied_minor,
            )
        except CreditNoteStateError:
            note.refresh_from_db()
            return
        paid_back = (
            MovementKind.NOTE_REFUND
            if note.settlement == NoteSettlement.REFUND
            else MovementKind.NOTE_BALANCE
        )
        for kind, minor in (
            (MovementKind.NOTE_APPLIED, note.applied_minor),
            (paid_back, note.paid_back_minor),
        ):
            movement_record(
                invoice=note.invoice,
                kind=kind,
                amount_minor=minor,
                key=f"{note.pk}:{kind.value}",
                at=now,
                note=note,
            )
    _notice_send(note)


def _notice_send(note: CreditNote) -> None:
    invoice, organization = note.invoice, note.invoice.organization
    billing_mail_send(
        organization=organization,
        subject=f"Credit note {note.number} for invoice {invoice.number}",
        text=(
            f"We have credited {_amount(note, note.total_minor)} of invoice {invoice.number}: "
            f"{note.reason}\n\n{_where_it_went(note)}\n\n"
            f"See the invoice: {app_url(organization, f'billing/invoices/{invoice.number}')}"
        ),
    )


def _where_it_went(note: CreditNote) -> str:
    """Say what becomes of the amount: what is not due any more, and what is given back."""
    parts = []
    if note.applied_minor:
        parts.append(f"{_amount(note, note.applied_minor)} is no longer due.")
    if note.paid_back_minor:
        refunded = note.settlement == NoteSettlement.REFUND
        way = "goes back to your card" if refunded else "is kept for your next invoices"
        parts.append(f"{_amount(note, note.paid_back_minor)} {way}.")
    return " ".join(parts)


def _amount(note: CreditNote, minor: int) -> str:
    currency = note.invoice.currency
    return f"{amount_text(minor, currency)} {currency}"


def note_alarm(*, note: CreditNote, text: str) -> None:
    """Stop a note where it stands; finance sees why."""
    CreditNote.objects.filter(pk=note.pk).update(alarm=text[:500])
    note.alarm = text[:500]


def note_alarm_clear(*, note_id: str) -> None:
    """Let the issuing go on after a person has looked."""
    with transaction.atomic():
        if CreditNote.objects.filter(pk=note_id).exclude(alarm="").update(alarm=""):
            enqueue_on_commit("billing.credit_note_issue", note_id=note_id)


def note_due_list(*, wall: datetime) -> list[str]:
    """Return notes that are approved or half issued and not told to wait."""
    waiting = set(
        Outbox.objects.filter(
            step="credit", state=OutboxState.PENDING, due_at__gt=wall
        ).values_list("key", flat=True)
    )
    rows = CreditNote.objects.select_related("invoice").filter(
        state__in=(NoteState.APPROVED, NoteState.ISSUING), alarm=""
    )
    return [row.pk for row in rows.order_by("pk") if note_step(note=row).key not in waiting]
