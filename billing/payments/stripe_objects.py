"""Reads Stripe's objects into the port's values, and one value into Stripe's parameters; pure.

A `StripeObject` is no mapping and an optional field may be absent, so those are read by `getattr`.
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import stripe

from billing.payments.failures import ACTION_CODES
from billing.payments.port import (
    LineDraft,
    PaymentFailure,
    RemoteCreditNote,
    RemoteDispute,
    RemoteEvent,
    RemoteInvoice,
    RemoteLine,
    RemoteRefund,
)
from billing.payments.signature import event_parse

if TYPE_CHECKING:
    from stripe.params import InvoiceItemCreateParamsPeriod


def metadata_of(thing: stripe.StripeObject) -> dict[str, str]:
    held = getattr(thing, "metadata", None)
    return {} if held is None else {str(k): str(v) for k, v in held.to_dict().items()}


def id_of(value: object) -> str:
    """Return the id of a field that may hold an id, an object or nothing."""
    return value if isinstance(value, str) else str(getattr(value, "id", None) or "")


def invoice_of(row: stripe.Invoice) -> RemoteInvoice:
    return RemoteInvoice(
        id=row.id,
        status=str(row.status or ""),
        currency=row.currency.upper(),
        total_minor=row.total,
        amount_paid_minor=row.amount_paid,
        hosted_url=getattr(row, "hosted_invoice_url", None) or "",
        metadata=metadata_of(row),
        pdf_url=getattr(row, "invoice_pdf", None) or "",
        number=getattr(row, "number", None) or "",
        due_minor=row.amount_due,
        customer_id=id_of(getattr(row, "customer", None)),
        failure=_failure(row),
        created_at=datetime.fromtimestamp(row.created, UTC),
        remaining_minor=row.amount_remaining,
        credited_minor=row.pre_payment_credit_notes_amount,
    )


def _failure(row: stripe.Invoice) -> PaymentFailure | None:
    """Find the error of the newest attempt; only an expanded invoice carries it."""
    payments = getattr(row, "payments", None)
    for attempt in [] if payments is None else payments.data:
        intent = getattr(attempt.payment, "payment_intent", None)
        error = getattr(intent, "last_payment_error", None)
        waits = getattr(intent, "status", "") == "requires_action"
        if error is None and not waits:
            continue
        code = str(getattr(error, "code", None) or "")
        return PaymentFailure(
            code=code,
            decline_code=str(getattr(error, "decline_code", None) or ""),
            message=str(getattr(error, "message", None) or ""),
            action_required=code in ACTION_CODES or waits,
        )
    return None


def line_of(row: stripe.InvoiceLineItem) -> RemoteLine:
    details = getattr(row.parent, "invoice_item_details", None)
    held = metadata_of(row)
    return RemoteLine(
        id=id_of(getattr(details, "invoice_item", None)),
        line_key=held.get("line_key", ""),
        amount_minor=row.amount,
        body_hash=held.get("body_hash", ""),
    )


def item_of(row: stripe.InvoiceItem) -> RemoteLine:
    held = metadata_of(row)
    return RemoteLine(
        id=row.id,
        line_key=held.get("line_key", ""),
        amount_minor=row.amount,
        body_hash=held.get("body_hash", ""),
    )


def period_of(line: LineDraft) -> "InvoiceItemCreateParamsPeriod":
    """Send whole seconds: the library reads a naive datetime as local time."""
    return {"start": int(line.starts_at.timestamp()), "end": int(line.ends_at.timestamp())}


def credit_note_of(row: stripe.CreditNote) -> RemoteCreditNote:
    return RemoteCreditNote(
        id=row.id,
        invoice_id=id_of(row.invoice),
        status=str(row.status),
        total_minor=row.total,
        metadata=metadata_of(row),
        applied_minor=row.pre_payment_amount,
    )


def refund_of(row: stripe.Refund) -> RemoteRefund:
    return RemoteRefund(
        id=row.id,
        charge_id=id_of(row.charge),
        amount_minor=row.amount,
        currency=row.currency.upper(),
        status=str(row.status or ""),
        created_at=datetime.fromtimestamp(row.created, UTC),
    )


def dispute_of(row: stripe.Dispute, *, invoice_id: str) -> RemoteDispute:
    due_by = row.evidence_details.due_by
    return RemoteDispute(
        id=row.id,
        charge_id=id_of(row.charge),
        invoice_id=invoice_id,
        amount_minor=row.amount,
        currency=row.currency.upper(),
        reason=row.reason,
        status=str(row.status),
        created_at=datetime.fromtimestamp(row.created, UTC),
        evidence_due_at=datetime.fromtimestamp(due_by, UTC) if due_by else None,
    )


def event_of(row: stripe.Event) -> RemoteEvent:
    return event_parse(row.to_dict(for_json=True))
