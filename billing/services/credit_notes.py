"""Credit notes: drafted, approved by their hash, taken back while nothing has left.

A correction takes off lines and counts in the chain, so that the next document of the period
bills against it; goodwill is a gift and stands outside (`architecture.md` §4.8). Issuing them is
`note_issue`.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import transaction

from billing.errors import CreditNoteRefusedError, CreditNoteStateError, StaleApprovalError
from billing.locks import credit_note_lock, invoice_lock, period_lock
from billing.models import (
    CreditNote,
    CreditNoteLine,
    CreditReturn,
    Invoice,
    NoteReason,
    NoteSettlement,
)
from billing.services.chain import digest
from billing.services.note_amounts import (
    NoteAmounts,
    correction_amounts,
    goodwill_amounts,
    standing_notes,
)
from billing.states import CREDITABLE, NoteState, note_sources_of
from portal.models import User
from portal.queue import enqueue_on_commit
from portal.services.audit import audit_record


def credit_note_draft(
    *,
    invoice_id: str,
    reason_code: NoteReason,
    reason: str,
    now: datetime,
    lines: Mapping[str, int] | None = None,
    goodwill_minor: int = 0,
    settlement: NoteSettlement = NoteSettlement.BALANCE,
    actor: User | None = None,
) -> CreditNote:
    """Draft a correction of `lines` (line key → minor units), or a goodwill of an amount.

    settlement   where the part goes that the customer had paid already
    actor        None = a corrected usage asked for it

    :raises CreditNoteRefusedError: beyond what is left, for nothing, or before it is issued.
    """
    taken = {key: minor for key, minor in (lines or {}).items() if minor}
    with transaction.atomic():
        invoice = Invoice.objects.select_related("period", "plan_version", "organization").get(
            pk=invoice_id
        )
        period_lock(invoice.period_id)
        invoice_lock(invoice_id)
        if invoice.state not in CREDITABLE or bool(taken) == bool(goodwill_minor):
            msg = f"{invoice_id} ({invoice.state}): a correction or goodwill of what is issued"
            raise CreditNoteRefusedError(msg)
        notes = standing_notes(invoice=invoice)
        amounts = (
            correction_amounts(invoice=invoice, taken=taken, notes=notes)
            if taken
            else goodwill_amounts(invoice=invoice, amount_minor=goodwill_minor, notes=notes)
        )
        note = _note_create(
            invoice,
            amounts,
            now,
            goodwill=not taken,
            reason_code=reason_code,
            reason=reason[:300],
            settlement=settlement,
            created_by=actor,
        )
        _lines_write(note, taken)
        _returns_write(note, amounts)
        _hash_write(note)
        _record(note, "credit_note.draft", now, actor=actor, reason=reason)
    return note


def _note_create(
    invoice: Invoice, amounts: NoteAmounts, now: datetime, **values: Any
) -> CreditNote:
    return CreditNote.objects.create(
        invoice=invoice,
        subtotal_minor=amounts.subtotal_minor,
        credit_minor=amounts.credit_minor,
        tax_minor=amounts.tax_minor,
        absorbed_minor=amounts.absorbed_minor,
        total_minor=amounts.total_minor,
        created_at=now,
        **values,
    )


def _lines_write(note: CreditNote, taken: Mapping[str, int]) -> None:
    CreditNoteLine.objects.bulk_create(
        CreditNoteLine(
            credit_note=note,
            line_key=line.line_key,
            description=line.description,
            amount_minor=taken[line.line_key],
        )
        for line in note.invoice.lines.all()
        if line.line_key in taken
    )


def _returns_write(note: CreditNote, amounts: NoteAmounts) -> None:
    draws = note.invoice.credit_draws.order_by("grant__created_at", "pk")
    CreditReturn.objects.bulk_create(
        CreditReturn(grant_id=draw.grant_id, credit_note=note, amount_minor=back)
        for draw, back in zip(draws, amounts.returns_minor, strict=False)
        if back
    )


def _hash_write(note: CreditNote) -> None:
    note.subtracts_hash = subtracts_digest(note=note)
    note.content_hash = content_digest(note=note)
    note.save(update_fields=["subtracts_hash", "content_hash"])


def subtracts_digest(*, note: CreditNote) -> str:
    """Hash what earlier notes that stand have taken: an approval covers it too."""
    earlier = standing_notes(invoice=note.invoice, before=note)
    return digest([[n.pk, n.total_minor, n.subtotal_minor, n.tax_minor] for n in earlier])


def content_digest(*, note: CreditNote) -> str:
    """Hash all that a reviewer sees of a note, and all that it rests on."""
    body = {
        "invoice": [note.invoice_id, note.invoice.content_hash],
        "goodwill": note.goodwill,
        "reason": [note.reason_code, note.reason],
        "settlement": note.settlement,
        "lines": [[row.line_key, row.amount_minor] for row in note.lines.order_by("pk")],
        "returns": [[r.grant_id, r.amount_minor] for r in note.credit_returns.order_by("pk")],
        "totals": [
            note.subtotal_minor,
            note.credit_minor,
            note.tax_minor,
            note.absorbed_minor,
            note.total_minor,
        ],
        "subtracts": note.subtracts_hash,
    }
    return digest(body)


def credit_note_move(
    *, note: CreditNote, target: NoteState, action: str, now: datetime, **values: Any
) -> None:
    """Move a note by compare-and-set, audited in the same transaction.

    :raises CreditNoteStateError: when its state does not allow the move (any more).
    """
    actor, reason = values.pop("actor", None), values.pop("reason", "")
    with transaction.atomic():
        rows = CreditNote.objects.filter(pk=note.pk, state__in=note_sources_of(target))
        if rows.update(state=target, **values) != 1:
            msg = f"{note.pk} cannot become {target} (was {note.state})"
            raise CreditNoteStateError(msg)
        _record(note, action, now, actor=actor, reason=reason)
    note.refresh_from_db()


def _record(
    note: CreditNote, action: str, now: datetime, *, actor: User | None, reason: str
) -> None:
    audit_record(
        actor=actor,
        action=action,
        target=note.pk,
        now=now,
        organization=note.invoice.organization,
        after={
            "invoice": note.invoice_id,
            "total_minor": note.total_minor,
            "content_hash": note.content_hash,
        },
        reason=reason,
    )


def credit_note_approve(
    *, note_id: str, content_hash: str, actor: User, now: datetime
) -> CreditNote:
    """Approve exactly what was reviewed, and let it be issued.

    :raises StaleApprovalError: when the note or the notes before it changed since.
    :raises CreditNoteStateError: when it is no draft (any more).
    """
    with transaction.atomic():
        note = CreditNote.objects.select_related("invoice__organization").get(pk=note_id)
        invoice_lock(note.invoice_id)
        credit_note_lock(note_id)
        note.refresh_from_db()
        same = note.subtracts_hash == subtracts_digest(note=note)
        if note.content_hash != content_hash or not same:
            msg = f"{note.pk} changed since it was reviewed"
            raise StaleApprovalError(msg)
        credit_note_move(
            note=note,
            target=NoteState.APPROVED,
            action="credit_note.approve",
            now=now,
            actor=actor,
            approved_by=actor,
            approved_at=now,
            approved_hash=content_hash,
        )
        enqueue_on_commit("billing.credit_note_issue", note_id=note.pk)
    return note


def credit_note_void(*, note_id: str, reason: str, actor: User, now: datetime) -> CreditNote:
    """Take back a note that no worker has claimed; what it took is billed again by the chain.

    :raises CreditNoteStateError: when it is on its way or issued: an invoice bills it again.
    """
    note = CreditNote.objects.select_related("invoice__organization").get(pk=note_id)
    credit_note_move(
        note=note,
        target=NoteState.VOID,
        action="credit_note.void",
        now=now,
        actor=actor,
        reason=reason,
        voided_at=now,
        void_reason=reason[:300],
    )
    return note
