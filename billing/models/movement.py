"""Money that moved after an invoice was issued: ledger movements and disputes."""

from typing import ClassVar, Final

from django.db import models

from billing.models.credit_note import CreditNote
from billing.models.invoice import Invoice
from portal.models import Organization
from portal.models.fields import IdField


class MovementKind(models.TextChoices):
    NOTE_APPLIED = "note_applied", "Credit note, not due any more"
    NOTE_BALANCE = "note_balance", "Credit note to the customer balance"
    NOTE_REFUND = "note_refund", "Credit note to be refunded"
    REFUND = "refund", "Refund"
    REFUND_FAILED = "refund_failed", "Refund came back"
    DISPUTE_OPENED = "dispute_opened", "Disputed, withdrawn"
    DISPUTE_WON = "dispute_won", "Dispute won, returned"
    DISPUTE_LOST = "dispute_lost", "Dispute lost"


ACCOUNTS: Final[dict[MovementKind, tuple[str, str]]] = {
    MovementKind.NOTE_APPLIED: ("credit_notes", "receivable"),
    MovementKind.NOTE_BALANCE: ("credit_notes", "customer_balance"),
    MovementKind.NOTE_REFUND: ("credit_notes", "refunds_payable"),
    MovementKind.REFUND: ("refunds_payable", "cash"),
    MovementKind.REFUND_FAILED: ("cash", "refunds_payable"),
    MovementKind.DISPUTE_OPENED: ("disputed", "cash"),
    MovementKind.DISPUTE_WON: ("cash", "disputed"),
    MovementKind.DISPUTE_LOST: ("dispute_losses", "disputed"),
}
"""(debit, credit) of each kind: every movement has two sides, so that their sum is zero."""


class LedgerMovement(models.Model):
    """One movement, written once and never changed.

    key   names it: the collector's object and what happened to it, so that twice is once
    """

    id = IdField(prefix="mv")
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="movements")
    invoice = models.ForeignKey(Invoice, models.PROTECT, related_name="movements")
    credit_note = models.ForeignKey(
        CreditNote, models.PROTECT, null=True, blank=True, related_name="movements"
    )
    key = models.CharField(max_length=160, unique=True)
    kind = models.CharField(max_length=16, choices=MovementKind)
    debit = models.CharField(max_length=20)
    credit = models.CharField(max_length=20)
    amount_minor = models.PositiveBigIntegerField()
    currency = models.CharField(max_length=3)
    at = models.DateTimeField()

    class Meta:
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["invoice", "at"])]

    def __str__(self) -> str:
        return self.key


class Dispute(models.Model):
    """A charge that the cardholder questions at the bank; `status` is the collector's word."""

    id = IdField(prefix="dsp")
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="disputes")
    invoice = models.ForeignKey(Invoice, models.PROTECT, related_name="disputes")
    remote_id = models.CharField(max_length=120, unique=True)
    charge_id = models.CharField(max_length=120)
    amount_minor = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    reason = models.CharField(max_length=60)
    status = models.CharField(max_length=30)
    evidence_due_at = models.DateTimeField(null=True, blank=True)  # wall time
    opened_at = models.DateTimeField()  # wall time, the collector's
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["status", "opened_at"])]

    def __str__(self) -> str:
        return self.remote_id
