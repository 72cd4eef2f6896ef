"""Billing's tables; Django loads them through this package, so here the names are gathered."""

from billing.models.checkout import CheckoutState, PlanCheckout
from billing.models.invoice import (
    CreditNote,
    CreditNoteLine,
    Invoice,
    InvoiceKind,
    InvoiceLine,
    InvoiceNumbering,
)
from billing.models.ledger import CreditDraw, CreditGrant
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
from billing.models.usage import UsageSnapshot

__all__ = [
    "CheckoutState",
    "CreditDraw",
    "CreditGrant",
    "CreditNote",
    "CreditNoteLine",
    "CustomerAccount",
    "Finding",
    "InboxState",
    "Invoice",
    "InvoiceKind",
    "InvoiceLine",
    "InvoiceNumbering",
    "Outbox",
    "OutboxState",
    "Payment",
    "PaymentState",
    "PlanCheckout",
    "UsageSnapshot",
    "WebhookInbox",
]
