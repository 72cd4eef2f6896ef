"""Credit notes: the documents that correct an issued invoice, or give something back."""

from typing import ClassVar

from django.db import models

from billing.models.invoice import Invoice
from billing.models.ledger import CreditGrant
from billing.states import NoteState
from portal.models import User
from portal.models.fields import IdField


class NoteReason(models.TextChoices):
    """Why something is given back; the text beside it says the rest."""

    USAGE_CORRECTED = "usage_corrected", "Usage corrected"
    PRICE_CORRECTED = "price_corrected", "Price corrected"
    DUPLICATE = "duplicate", "Billed twice"
    OUTAGE = "outage", "Service outage"
    AGREEMENT = "agreement", "Agreed with the customer"
    OTHER = "other", "Other"


class NoteSettlement(models.TextChoices):
    """Where the part goes that was paid already; what is not paid yet is simply no longer due."""

    BALANCE = "balance", "Customer balance"
    REFUND = "refund", "Refund to the card"


class CreditNote(models.Model):
    """A correction of an issued invoice. `goodwill` stands outside the chain's arithmetic.

    From `issuing` on, database triggers refuse every change but those of its settlement.

    total = subtotal - credit + tax - absorbed, never negative
    subtotal_minor   what the lines are lowered by; of goodwill, its part before tax
    credit_minor     prepaid credit that goes back to the wallet instead of money
    absorbed_minor   what goodwill had given back already, not given twice
    subtracts_hash   what other notes had taken from the invoice when this was worked out
    applied_minor    the part that lowered the amount due; the rest was paid already
    """

    id = IdField(prefix="cn")
    invoice = models.ForeignKey(Invoice, models.PROTECT, related_name="credit_notes")
    state = models.CharField(max_length=10, choices=NoteState, default=NoteState.DRAFT)
    number = models.CharField(max_length=40, null=True, blank=True, unique=True)
    goodwill = models.BooleanField(default=False)
    reason_code = models.CharField(max_length=20, choices=NoteReason, default=NoteReason.OTHER)
    reason = models.CharField(max_length=300)
    settlement = models.CharField(
        max_length=8, choices=NoteSettlement, default=NoteSettlement.BALANCE
    )
    subtotal_minor = models.BigIntegerField(default=0)
    credit_minor = models.BigIntegerField(default=0)
    tax_minor = models.BigIntegerField(default=0)
    absorbed_minor = models.BigIntegerField(default=0)
    total_minor = models.BigIntegerField()  # positive: taken off
    content_hash = models.CharField(max_length=64, default="")
    subtracts_hash = models.CharField(max_length=64, default="")
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True)
    created_at = models.DateTimeField()
    approved_by = models.ForeignKey(
        User, models.SET_NULL, null=True, blank=True, related_name="approved_credit_notes"
    )
    approved_at = models.DateTimeField(null=True, blank=True)
    approved_hash = models.CharField(max_length=64, blank=True, default="")
    issued_at = models.DateTimeField(null=True, blank=True)
    voided_at = models.DateTimeField(null=True, blank=True)
    void_reason = models.CharField(max_length=300, blank=True, default="")
    stripe_credit_note_id = models.CharField(max_length=80, blank=True)
    applied_minor = models.BigIntegerField(default=0)
    alarm = models.CharField(max_length=500, blank=True, default="")
    pdf = models.BinaryField(null=True, blank=True)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["state", "created_at"])]

    def __str__(self) -> str:
        return self.number or self.id

    @property
    def paid_back_minor(self) -> int:
        """The part that the customer had paid: refunded, or credited to the balance."""
        return self.total_minor - self.applied_minor


class CreditNoteLine(models.Model):
    credit_note = models.ForeignKey(CreditNote, models.CASCADE, related_name="lines")
    line_key = models.CharField(max_length=200)
    description = models.CharField(max_length=400, default="")
    amount_minor = models.BigIntegerField()  # positive: taken off the net of that line

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["credit_note", "line_key"], name="note_line_once")
        ]

    def __str__(self) -> str:
        return self.line_key


class CreditReturn(models.Model):
    """Prepaid credit that a note gives back to the grant it was drawn from."""

    grant = models.ForeignKey(CreditGrant, models.PROTECT, related_name="returns")
    credit_note = models.ForeignKey(CreditNote, models.CASCADE, related_name="credit_returns")
    amount_minor = models.BigIntegerField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["grant", "credit_note"], name="credit_return_once")
        ]

    def __str__(self) -> str:
        return f"{self.amount_minor} to {self.grant_id}"
