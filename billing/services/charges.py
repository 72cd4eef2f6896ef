"""Refunds and disputes of charges: ledger movements, never an edit of the invoice.

The collector's object is read again for every effect; what it says is written once, by a key made
from its id, so that order, duplicates and loss of events make no difference.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from django.db import transaction

from billing.models import Dispute, Invoice, MovementKind
from billing.payments.port import RemoteCharge, RemoteDispute, RemoteRefund
from billing.services.findings import finding_open
from billing.services.ledger import moved_minor, movement_record, refunded_minor
from portal.services.audit import audit_record

DECIDED: Final = frozenset({"won", "lost", "warning_closed", "prevented"})
WITHDRAWN: Final = frozenset(
    {"needs_response", "under_review", "appeal_needs_response", "appeal_under_review"}
    | {"won", "lost"}
)
"""Statuses in which the bank has taken the money; a warning has not."""


def charge_apply(*, charge: RemoteCharge, now: datetime) -> bool:
    """Write the refunds of a charge as movements; False for a charge of no invoice of ours."""
    invoice = invoice_of_remote(remote_id=charge.invoice_id)
    if invoice is None:
        return False
    refunds_apply(invoice=invoice, refunds=charge.refunds, now=now)
    return True


def invoice_of_remote(*, remote_id: str) -> Invoice | None:
    if not remote_id:
        return None
    rows = Invoice.objects.select_related("organization").filter(stripe_invoice_id=remote_id)
    return rows.first()


def refunds_apply(*, invoice: Invoice, refunds: Sequence[RemoteRefund], now: datetime) -> int:
    """Write each refund once; one that failed after it had been written comes back."""
    fresh = 0
    for refund in refunds:
        key = f"refund:{refund.id}"
        gone = refund.status in {"failed", "canceled"}
        if gone and not invoice.movements.filter(key=key).exists():
            continue
        fresh += movement_record(
            invoice=invoice,
            kind=MovementKind.REFUND_FAILED if gone else MovementKind.REFUND,
            amount_minor=refund.amount_minor,
            key=f"{key}:failed" if gone else key,
            at=now,
        )
    return fresh


def refund_gap_minor(*, invoice: Invoice) -> int:
    """Return what was refunded beyond (or short of) what credit notes say."""
    promised = moved_minor(invoice=invoice, kind=MovementKind.NOTE_REFUND)
    return refunded_minor(invoice=invoice) - promised


def dispute_apply(*, remote: RemoteDispute, now: datetime) -> bool:
    """Follow a dispute forward, write what it does to the money; False for no invoice of ours.

    A decided one stays decided, unless an appeal opens it again.
    """
    invoice = invoice_of_remote(remote_id=remote.invoice_id)
    if invoice is None:
        return False
    with transaction.atomic():
        held, created = Dispute.objects.get_or_create(
            remote_id=remote.id,
            defaults={
                "organization_id": invoice.organization_id,
                "invoice": invoice,
                "charge_id": remote.charge_id,
                "amount_minor": remote.amount_minor,
                "currency": remote.currency,
                "reason": remote.reason[:60],
                "status": remote.status,
                "evidence_due_at": remote.evidence_due_at,
                "opened_at": remote.created_at,
                "closed_at": now if remote.status in DECIDED else None,
            },
        )
        moved = created or _moved(held, remote, now)
        if moved:
            _movements(invoice, remote, now)
            audit_record(
                actor=None,
                action="dispute.update",
                target=remote.id,
                now=now,
                organization=invoice.organization,
                after={"status": remote.status, "amount_minor": remote.amount_minor},
            )
    return True


def _moved(held: Dispute, remote: RemoteDispute, now: datetime) -> bool:
    reopened = remote.status.startswith("appeal_")
    if held.status == remote.status or (held.status in DECIDED and not reopened):
        return False
    decided = remote.status in DECIDED
    Dispute.objects.filter(pk=held.pk, status=held.status).update(
        status=remote.status,
        amount_minor=remote.amount_minor,
        evidence_due_at=remote.evidence_due_at,
        closed_at=now if decided else None,
    )
    return True


def _movements(invoice: Invoice, remote: RemoteDispute, now: datetime) -> None:
    steps = []
    if remote.status in WITHDRAWN:
        steps.append(MovementKind.DISPUTE_OPENED)
    if remote.status == "won":
        steps.append(MovementKind.DISPUTE_WON)
    if remote.status == "lost":
        steps.append(MovementKind.DISPUTE_LOST)
    for kind in steps:
        movement_record(
            invoice=invoice,
            kind=kind,
            amount_minor=remote.amount_minor,
            key=f"{remote.id}:{kind.value}",
            at=now,
        )


def refund_gap_found(*, invoice: Invoice, now: datetime) -> bool:
    """Keep a finding where money went back that no credit note explains."""
    gap = refund_gap_minor(invoice=invoice)
    if gap <= 0:
        return False
    finding_open(
        key=f"{invoice.pk}:refund:{gap}",
        kind="refund",
        detail=f"{invoice}: {gap} {invoice.currency} (minor units) refunded without a credit note",
        invoice=invoice,
        now=now,
    )
    return True
