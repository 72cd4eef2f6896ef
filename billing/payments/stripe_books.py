"""Stripe as corrections, webhooks and reconciliation see it: `CollectorBooks`.

The rules of the mapping and of the keys are in `stripe_adapter`, whose collector stands on this.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import stripe

from billing.payments.failures import translated
from billing.payments.port import (
    LineDraft,
    RemoteCharge,
    RemoteCreditNote,
    RemoteDispute,
    RemoteEvent,
    RemoteInvoice,
    RemoteLine,
    RemoteRefund,
)
from billing.payments.signature import event_verify
from billing.payments.stripe_objects import (
    credit_note_of,
    dispute_of,
    event_of,
    id_of,
    invoice_of,
    item_of,
    period_of,
    refund_of,
)

if TYPE_CHECKING:
    from stripe.params import CreditNoteCreateParams, InvoiceListParams

PAGE: Final = 100
DESCRIPTION_MAX: Final = 500


@contextmanager
def _gone_is_done() -> Iterator[None]:
    """Take a 404 of a delete as its success: keys do not cover deletes, a retry finds nothing."""
    try:
        yield
    except stripe.InvalidRequestError as error:
        if error.http_status != HTTPStatus.NOT_FOUND:
            raise


class StripeBooks:
    """Satisfies `CollectorBooks`."""

    def __init__(self, *, client: stripe.StripeClient, webhook_secrets: Sequence[str]) -> None:
        self._v1 = client.v1
        self._webhook_secrets = tuple(webhook_secrets)

    def invoice_list(
        self, *, created_from: datetime | None, status: str | None = None
    ) -> Sequence[RemoteInvoice]:
        params: InvoiceListParams = {"limit": PAGE}
        if created_from is not None:
            params["created"] = {"gte": int(created_from.timestamp())}
        if status is not None:
            params["status"] = status
        with translated("invoice_list"):
            rows = self._v1.invoices.list(params).auto_paging_iter()
            return tuple(invoice_of(row) for row in rows)

    def invoice_delete(self, *, key: str, remote_id: str) -> None:
        with translated("invoice_delete"), _gone_is_done():
            self._v1.invoices.delete(remote_id, {}, {"idempotency_key": key})

    def line_update(self, *, key: str, line_id: str, line: LineDraft) -> RemoteLine:
        with translated("line_update"):
            made = self._v1.invoice_items.update(
                line_id,
                {
                    "amount": line.amount_minor,
                    "description": line.description[:DESCRIPTION_MAX],
                    "period": period_of(line),
                    "metadata": {"line_key": line.line_key, "body_hash": line.body_hash},
                },
                {"idempotency_key": key},
            )
        return item_of(made)

    def line_delete(self, *, key: str, line_id: str) -> None:
        with translated("line_delete"), _gone_is_done():
            self._v1.invoice_items.delete(line_id, {}, {"idempotency_key": key})

    def invoice_uncollectible(self, *, key: str, remote_id: str) -> RemoteInvoice:
        with translated("invoice_uncollectible"):
            return invoice_of(
                self._v1.invoices.mark_uncollectible(remote_id, {}, {"idempotency_key": key})
            )

    def credit_note_create(
        self,
        *,
        key: str,
        remote_id: str,
        credit_note_id: str,
        amount_minor: int,
        reason: str,
        refund: bool = False,
    ) -> RemoteCreditNote:
        """Look for ours first: what the note does to the invoice changes the body it was sent as.

        What is still owed goes down; the part above, paid already, becomes balance or a refund,
        which Stripe makes in the same call.
        """
        for note in self.credit_note_list(remote_id=remote_id):
            if note.metadata.get("credit_note_id") == credit_note_id:
                return note
        with translated("credit_note_create"):
            held = self._v1.invoices.retrieve(remote_id)
            params: CreditNoteCreateParams = {
                "invoice": remote_id,
                "amount": amount_minor,
                "memo": reason,
                "metadata": {"credit_note_id": credit_note_id},
            }
            above = amount_minor - held.amount_remaining
            if above > 0:
                params["refund_amount" if refund else "credit_amount"] = above
            made = self._v1.credit_notes.create(params, {"idempotency_key": key})
        return credit_note_of(made)

    def credit_note_list(self, *, remote_id: str) -> Sequence[RemoteCreditNote]:
        with translated("credit_note_list"):
            rows = self._v1.credit_notes.list({"invoice": remote_id, "limit": PAGE})
            return tuple(credit_note_of(row) for row in rows.auto_paging_iter())

    def charge_read(self, *, charge_id: str) -> RemoteCharge:
        with translated("charge_read"):
            row = self._v1.charges.retrieve(charge_id)
            refunds = self._v1.refunds.list({"charge": charge_id, "limit": PAGE})
            return RemoteCharge(
                id=row.id,
                invoice_id=self._invoice_of(id_of(row.payment_intent)),
                amount_minor=row.amount_captured,
                currency=row.currency.upper(),
                refunds=tuple(refund_of(r) for r in refunds.auto_paging_iter()),
            )

    def _invoice_of(self, payment_intent_id: str) -> str:
        """Find the invoice that a payment intent pays; a charge itself no longer says it."""
        if not payment_intent_id:
            return ""
        rows = self._v1.invoice_payments.list(
            {
                "payment": {"type": "payment_intent", "payment_intent": payment_intent_id},
                "limit": 1,
            }
        )
        return id_of(rows.data[0].invoice) if rows.data else ""

    def refund_list(self, *, created_from: datetime) -> Sequence[RemoteRefund]:
        since = int(created_from.timestamp())
        with translated("refund_list"):
            rows = self._v1.refunds.list({"created": {"gte": since}, "limit": PAGE})
            return tuple(refund_of(row) for row in rows.auto_paging_iter())

    def dispute_read(self, *, dispute_id: str) -> RemoteDispute:
        with translated("dispute_read"):
            return self._dispute(self._v1.disputes.retrieve(dispute_id))

    def dispute_list(self, *, created_from: datetime) -> Sequence[RemoteDispute]:
        since = int(created_from.timestamp())
        with translated("dispute_list"):
            rows = self._v1.disputes.list({"created": {"gte": since}, "limit": PAGE})
            return tuple(self._dispute(row) for row in rows.auto_paging_iter())

    def _dispute(self, row: stripe.Dispute) -> RemoteDispute:
        return dispute_of(row, invoice_id=self._invoice_of(id_of(row.payment_intent)))

    def customer_exists(self, *, customer_id: str) -> bool:
        with translated("customer_exists"):
            try:
                return not getattr(self._v1.customers.retrieve(customer_id), "deleted", False)
            except stripe.InvalidRequestError as error:
                if error.http_status == HTTPStatus.NOT_FOUND:
                    return False
                raise

    def event_read(self, *, event_id: str) -> RemoteEvent:
        with translated("event_read"):
            return event_of(self._v1.events.retrieve(event_id))

    def event_list(self, *, created_from: datetime) -> Sequence[RemoteEvent]:
        since = int(created_from.timestamp())
        with translated("event_list"):
            rows = self._v1.events.list({"created": {"gte": since}, "limit": PAGE})
            newest_first = [event_of(row) for row in rows.auto_paging_iter()]
        return tuple(reversed(newest_first))

    def event_verify(self, *, payload: bytes, header: str, now: datetime) -> RemoteEvent:
        return event_verify(payload=payload, header=header, secrets=self._webhook_secrets, now=now)
