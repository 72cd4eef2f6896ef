"""What billing needs from whoever collects the money; Stripe stands behind an adapter.

Owns the values that cross the border and the Protocol that billing calls. Nothing of a provider's
library comes through: money is an int in minor units, instants are aware UTC. Every method that
writes takes `key`, the idempotency key that the outbox stored before the call, and raises

- `CollectorUnavailableError`: nobody knows whether it happened (`unknown_outcome`), or the
  collector cannot be spoken to at all; the same key and body again, or look first,
- `CollectorBusyError`: told to wait, nothing happened, no attempt is counted,
- `CollectorRefusedError`: refused as asked; read the object again before giving up,
- `CardDeclinedError`: from `invoice_pay` alone; the invoice stays open.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentFailure:
    """Why the newest attempt to collect failed.

    action_required   the customer has to act (3-D Secure): send them to the hosted invoice
    """

    code: str
    decline_code: str = ""
    message: str = ""
    action_required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteInvoice:
    """An invoice as the collector has it now.

    status       draft, open, paid, void, uncollectible
    total_minor  the sum of all lines; what the ledgers are compared by
    due_minor    what is asked for: total after the customer's balance, never below zero
    remaining_minor  what of that is neither paid nor credited yet
    credited_minor   what credit notes took off what was due, before it was paid
    number       and the two links are empty until the invoice is finalized
    created_at   None where the collector did not say
    """

    id: str
    status: str
    currency: str
    total_minor: int
    amount_paid_minor: int
    hosted_url: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    pdf_url: str = ""
    number: str = ""
    due_minor: int = 0
    customer_id: str = ""
    failure: PaymentFailure | None = None
    created_at: datetime | None = None
    remaining_minor: int = 0
    credited_minor: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteLine:
    """One line at the collector; `id` is what `line_update` and `line_delete` take."""

    id: str
    line_key: str
    amount_minor: int
    body_hash: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineDraft:
    """One line as it should be; a discount or a credit is a negative amount, tax a line too."""

    line_key: str
    description: str
    amount_minor: int
    currency: str
    starts_at: datetime
    ends_at: datetime
    body_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What may be shown of the card that invoices are charged to; `expires` is `MM/YYYY`."""

    payment_method_id: str
    brand: str
    last4: str
    expires: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckoutSession:
    id: str
    url: str
    complete: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteEvent:
    """Something happened to an object: a hint to read that object again, nothing more.

    invoice_id, charge_id   what the object belongs to, where it says so
    """

    id: str
    type: str
    object_id: str
    customer_id: str
    created_at: datetime
    invoice_id: str = ""
    charge_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteCreditNote:
    """`applied_minor` lowered what was due; the rest had been paid and was given back."""

    id: str
    invoice_id: str
    status: str
    total_minor: int
    metadata: Mapping[str, str] = field(default_factory=dict)
    applied_minor: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteRefund:
    """Money given back of a charge; `status` is pending, succeeded, failed, canceled …"""

    id: str
    charge_id: str
    amount_minor: int
    currency: str
    status: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteCharge:
    """A charge with its refunds; `invoice_id` is empty where it paid no invoice."""

    id: str
    invoice_id: str
    amount_minor: int
    currency: str
    refunds: Sequence[RemoteRefund] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteDispute:
    """A charge that its cardholder questions.

    evidence_due_at   until when the provider may answer; None where it may not
    """

    id: str
    charge_id: str
    invoice_id: str
    amount_minor: int
    currency: str
    reason: str
    status: str
    created_at: datetime
    evidence_due_at: datetime | None = None


class Collector(Protocol):
    """Holds customers, cards, final invoices and the money: what one invoice needs on its way."""

    def customer_create(self, *, key: str, organization_id: str, name: str, email: str) -> str:
        """Find the organization's customer by its metadata, else create it; return its id."""

    def checkout_create(
        self, *, key: str, customer_id: str, success_url: str, cancel_url: str
    ) -> CheckoutSession:
        """Open a hosted page where the customer leaves a card; nothing is charged."""

    def checkout_read(self, *, session_id: str) -> CheckoutSession:
        """Read a hosted page again: complete, still open (it has an address), or expired."""

    def card_read(self, *, customer_id: str) -> Card | None:
        """Read the card that invoices are charged to, and make one left lately the default."""

    def invoice_find(self, *, customer_id: str, invoice_id: str) -> RemoteInvoice | None:
        """Look through the customer's invoices for ours, by metadata; for forgotten keys."""

    def invoice_read(self, *, remote_id: str) -> RemoteInvoice: ...

    def invoice_create(
        self,
        *,
        key: str,
        customer_id: str,
        currency: str,
        days_until_due: int | None,
        metadata: Mapping[str, str],
    ) -> RemoteInvoice:
        """Create an empty draft that never advances alone; None days = charge the card."""

    def line_list(self, *, remote_id: str) -> Sequence[RemoteLine]:
        """List every line, all pages."""

    def line_create(
        self, *, key: str, customer_id: str, remote_id: str, line: LineDraft
    ) -> RemoteLine: ...

    def invoice_finalize(self, *, key: str, remote_id: str) -> RemoteInvoice:
        """Finalize; a second time is refused, so read the status after any error."""

    def invoice_pay(self, *, key: str, remote_id: str) -> RemoteInvoice:
        """Charge the default card once, off session."""

    def invoice_send(self, *, key: str, remote_id: str) -> RemoteInvoice: ...

    def invoice_void(self, *, key: str, remote_id: str) -> RemoteInvoice: ...


class CollectorBooks(Protocol):
    """The same collector as corrections, webhooks and reconciliation see it."""

    def invoice_list(
        self, *, created_from: datetime | None, status: str | None = None
    ) -> Sequence[RemoteInvoice]:
        """List invoices created since then (None = ever), newest first, every page."""

    def invoice_delete(self, *, key: str, remote_id: str) -> None:
        """Delete a draft with its lines. A finalized invoice is refused."""

    def line_update(self, *, key: str, line_id: str, line: LineDraft) -> RemoteLine:
        """Bring a line that differs to what it should be."""

    def line_delete(self, *, key: str, line_id: str) -> None: ...

    def invoice_uncollectible(self, *, key: str, remote_id: str) -> RemoteInvoice: ...

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
        """Correct a finalized invoice: lowers what is due of it first.

        refund   what was paid already goes back to the card instead of the customer's balance
        """

    def credit_note_list(self, *, remote_id: str) -> Sequence[RemoteCreditNote]: ...

    def charge_read(self, *, charge_id: str) -> RemoteCharge: ...

    def refund_list(self, *, created_from: datetime) -> Sequence[RemoteRefund]: ...

    def dispute_read(self, *, dispute_id: str) -> RemoteDispute: ...

    def dispute_list(self, *, created_from: datetime) -> Sequence[RemoteDispute]: ...

    def customer_exists(self, *, customer_id: str) -> bool:
        """False for a customer that was deleted, or never was."""

    def event_read(self, *, event_id: str) -> RemoteEvent: ...

    def event_list(self, *, created_from: datetime) -> Sequence[RemoteEvent]:
        """List events since then, oldest first; finds webhooks that never arrived."""

    def event_verify(self, *, payload: bytes, header: str, now: datetime) -> RemoteEvent:
        """Check a webhook's signature over its raw body and return its event; `now` = wall time.

        :raises SignatureInvalidError: missing, wrong, stale, from the future, or not an event.
        """


class FullCollector(Collector, CollectorBooks, Protocol):
    """Both views at once: what webhooks, corrections and reconciliation need."""
