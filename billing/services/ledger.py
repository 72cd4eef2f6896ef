"""The one writer of ledger movements: money that moved after an invoice was issued."""

from datetime import datetime

from django.db.models import Sum

from billing.models import ACCOUNTS, CreditNote, Invoice, LedgerMovement, MovementKind


def movement_record(
    *,
    invoice: Invoice,
    kind: MovementKind,
    amount_minor: int,
    key: str,
    at: datetime,
    note: CreditNote | None = None,
) -> bool:
    """Write one movement; False for nothing, and for a key that is there already."""
    if amount_minor <= 0:
        return False
    debit, credit = ACCOUNTS[kind]
    _, created = LedgerMovement.objects.get_or_create(
        key=key,
        defaults={
            "organization_id": invoice.organization_id,
            "invoice": invoice,
            "credit_note": note,
            "kind": kind,
            "debit": debit,
            "credit": credit,
            "amount_minor": amount_minor,
            "currency": invoice.currency,
            "at": at,
        },
    )
    return created


def moved_minor(*, invoice: Invoice, kind: MovementKind) -> int:
    """Sum an invoice's movements of a kind."""
    rows = LedgerMovement.objects.filter(invoice=invoice, kind=kind)
    return int(rows.aggregate(total=Sum("amount_minor"))["total"] or 0)


def refunded_minor(*, invoice: Invoice) -> int:
    """Return what left for the customer's card and did not come back."""
    return moved_minor(invoice=invoice, kind=MovementKind.REFUND) - moved_minor(
        invoice=invoice, kind=MovementKind.REFUND_FAILED
    )
