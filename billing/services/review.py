"""Finance's decisions on a document: approve, hold, release, void. Each one is audited.

Every move is a compare-and-set on the state, so that two people cannot both decide.
"""

from datetime import datetime
from typing import Any

from django.db import transaction

from billing.errors import InvoiceStateError, StaleApprovalError
from billing.locks import invoice_lock, period_lock
from billing.models import Invoice, InvoiceKind, Rebill
from billing.services.chain import billed_digest
from billing.services.drafts import billed_of_kind
from billing.services.rated import stretch_list
from billing.states import InvoiceState, sources_of
from portal.models import User
from portal.queue import enqueue_on_commit
from portal.services.audit import audit_record


def invoice_move(
    *,
    invoice: Invoice,
    target: InvoiceState,
    action: str,
    now: datetime,
    actor: User | None = None,
    reason: str = "",
    sources: tuple[InvoiceState, ...] = (),
    **values: Any,
) -> None:
    """Move an invoice by compare-and-set and write the audit row in the same transaction.

    What a void one billed is open again: its period is to be rated once more.

    :raises InvoiceStateError: when its state does not allow the move (any more).
    """
    allowed = sources or sources_of(target)
    with transaction.atomic():
        if target == InvoiceState.VOID:
            period_lock(invoice.period_id)
            Rebill.objects.update_or_create(pk=invoice.period_id, defaults={"since": now})
        moved = Invoice.objects.filter(pk=invoice.pk, state__in=allowed).update(
            state=target, **values
        )
        if moved != 1:
            msg = f"{invoice.pk} cannot become {target} (was {invoice.state})"
            raise InvoiceStateError(msg)
        audit_record(
            actor=actor,
            action=action,
            target=invoice.pk,
            now=now,
            organization=invoice.organization,
            before={"state": invoice.state},
            after={"state": target.value, "content_hash": invoice.content_hash},
            reason=reason,
        )
    invoice.refresh_from_db()


def invoice_approve(*, invoice_id: str, content_hash: str, actor: User, now: datetime) -> Invoice:
    """Approve exactly what was reviewed: the draft's hash and what it subtracts must still hold.

    :raises StaleApprovalError: when the draft or the chain before it changed since.
    :raises InvoiceStateError: when it is no draft (any more).
    """
    with transaction.atomic():
        invoice = Invoice.objects.select_related("organization").get(pk=invoice_id)
        period_lock(invoice.period_id)
        invoice = invoice_lock(invoice_id)
        if invoice.content_hash != content_hash or not _subtracts_the_same(invoice):
            msg = f"{invoice.pk} changed since it was reviewed"
            raise StaleApprovalError(msg)
        invoice_move(
            invoice=invoice,
            target=InvoiceState.APPROVED,
            action="invoice.approve",
            now=now,
            actor=actor,
            sources=(InvoiceState.DRAFT,),
            approved_by=actor,
            approved_at=now,
            approved_hash=content_hash,
        )
        enqueue_on_commit("billing.invoice_issue", invoice_id=invoice.pk)
    return invoice


def _subtracts_the_same(invoice: Invoice) -> bool:
    stretches = stretch_list(
        subscription=invoice.subscription, period=invoice.period, now=invoice.rated_at
    )
    billed = billed_of_kind(
        period=invoice.period,
        kind=InvoiceKind(invoice.kind),
        stretches=stretches,
        without=invoice,
    )
    return billed_digest(billed) == invoice.subtracts_hash


def invoice_hold(*, invoice_id: str, reason: str, actor: User, now: datetime) -> Invoice:
    """Stop a draft, or an approved one that no worker has claimed yet."""
    invoice = Invoice.objects.select_related("organization").get(pk=invoice_id)
    invoice_move(
        invoice=invoice,
        target=InvoiceState.HELD,
        action="invoice.hold",
        now=now,
        actor=actor,
        reason=reason,
        hold_reason=reason[:300],
    )
    return invoice


def invoice_release(*, invoice_id: str, actor: User, now: datetime) -> Invoice:
    """Make a held document a draft again."""
    invoice = Invoice.objects.select_related("organization").get(pk=invoice_id)
    invoice_move(
        invoice=invoice,
        target=InvoiceState.DRAFT,
        action="invoice.release",
        now=now,
        actor=actor,
        sources=(InvoiceState.HELD,),
        hold_reason="",
    )
    return invoice


def draft_void(*, invoice_id: str, reason: str, actor: User, now: datetime) -> Invoice:
    """Void a document that never reached Stripe; the next of the chain picks its lines up."""
    invoice = Invoice.objects.select_related("organization").get(pk=invoice_id)
    invoice_move(
        invoice=invoice,
        target=InvoiceState.VOID,
        action="invoice.void",
        now=now,
        actor=actor,
        reason=reason,
        sources=(InvoiceState.DRAFT, InvoiceState.HELD, InvoiceState.APPROVED),
        void_reason=reason[:300],
    )
    return invoice


def clean_approve(*, actor: User, now: datetime, hashes: dict[str, str]) -> tuple[int, int]:
    """Approve the clean drafts that were on the page, each by the hash shown there.

    :returns: (approved, left out because flagged, changed or taken meanwhile)
    """
    approved = 0
    for invoice in Invoice.objects.filter(pk__in=hashes, state=InvoiceState.DRAFT, flags=[]):
        try:
            invoice_approve(
                invoice_id=invoice.pk, content_hash=hashes[invoice.pk], actor=actor, now=now
            )
        except (StaleApprovalError, InvoiceStateError):
            continue
        approved += 1
    return approved, len(hashes) - approved
