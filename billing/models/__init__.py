"""Billing's tables; Django loads them through this package, so here the names are gathered."""

from billing.models.checkout import CheckoutState, PlanCheckout
from billing.models.credit_note import (
    CreditNote,
    CreditNoteLine,
    CreditReturn,
    NoteReason,
    NoteSettlement,
)
from billing.models.invoice import (
    DESCRIPTION_MAX,
    CollectionWait,
    Invoice,
    InvoiceKind,
    InvoiceLine,
    InvoiceNumbering,
)
from billing.models.ledger import CreditDraw, CreditGrant
from billing.models.movement import ACCOUNTS, Dispute, LedgerMovement, MovementKind
from billing.models.payment import (
    CustomerAccount,
    Finding,
    InboxState,
    Outbox,
    OutboxState,
    Payment,
    PaymentState,
    WebhookInbox,
)
from billing.models.usage import Rebill, UsageSnapshot

__all__ = [
    "ACCOUNTS",
    "DESCRIPTION_MAX",
    "CheckoutState",
    "CollectionWait",
    "CreditDraw",
    "CreditGrant",
    "CreditNote",
    "CreditNoteLine",
    "CreditReturn",
    "CustomerAccount",
    "Dispute",
    "Finding",
    "InboxState",
    "Invoice",
    "InvoiceKind",
    "InvoiceLine",
    "InvoiceNumbering",
    "LedgerMovement",
    "MovementKind",
    "NoteReason",
    "NoteSettlement",
    "Outbox",
    "OutboxState",
    "Payment",
    "PaymentState",
    "PlanCheckout",
    "Rebill",
    "UsageSnapshot",
    "WebhookInbox",
]
