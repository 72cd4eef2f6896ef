"""Invoices, their lines and the series of their numbers."""

from typing import ClassVar, Final

from django.db import models

from billing.states import UNISSUED, InvoiceState
from portal.models import BillingPeriod, Organization, PlanVersion, Subscription, User
from portal.models.fields import DecimalText, IdField


class InvoiceKind(models.TextChoices):
    """What a document of the chain takes (`architecture.md` §4.8)."""

    ADVANCE = "advance", "In advance"
    THRESHOLD = "threshold", "Threshold"
    PERIOD = "period", "Period"
    LATE = "late", "Late usage"


class CollectionWait(models.TextChoices):
    """What an open invoice waits for before it can be collected; empty = nothing but its time."""

    NOTHING = "", "Nothing"
    CARD = "card", "A card"
    ACTION = "action", "The customer's confirmation"


class Invoice(models.Model):
    """One document of the chain n = 1, 2, 3 … of a (subscription, period).

    From `issuing` on, database triggers refuse every change but those of collection: state,
    Stripe's ids, what was paid, the stored PDF.

    subtracts_hash   what earlier documents of the chain had billed when this was rated
    content_hash     everything that a reviewer sees, `subtracts_hash` included
    rating_input     the rating document (`pricing.md` §2), so that years later the same comes out
    credited_minor   what credit notes took off the amount due, before it was paid
    waiting_for      why the next attempt to collect is not ours to make
    """

    id = IdField(prefix="in")
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="invoices")
    subscription = models.ForeignKey(Subscription, models.PROTECT, related_name="invoices")
    period = models.ForeignKey(BillingPeriod, models.PROTECT, related_name="invoices")
    plan_version = models.ForeignKey(PlanVersion, models.PROTECT, related_name="invoices")
    n = models.PositiveIntegerField()
    kind = models.CharField(max_length=12, choices=InvoiceKind)
    state = models.CharField(max_length=16, choices=InvoiceState, default=InvoiceState.DRAFT)
    number = models.CharField(max_length=40, null=True, blank=True, unique=True)
    currency = models.CharField(max_length=3)
    service_from = models.DateTimeField()
    service_to = models.DateTimeField()  # exclusive
    subtotal_minor = models.BigIntegerField(default=0)
    discount_minor = models.BigIntegerField(default=0)
    adjustment_minor = models.BigIntegerField(default=0)
    credit_minor = models.BigIntegerField(default=0)
    tax_minor = models.BigIntegerField(default=0)
    total_minor = models.BigIntegerField(default=0)
    tax_rate_percent = models.CharField(max_length=12, default="0")
    rating_input = models.JSONField(default=dict)
    rerate_diff = models.JSONField(default=list, blank=True)  # what the last re-rating changed
    flags = models.JSONField(default=list, blank=True)
    engine_version = models.CharField(max_length=40)
    content_hash = models.CharField(max_length=64)
    subtracts_hash = models.CharField(max_length=64)
    revision = models.PositiveIntegerField(default=1)  # raised by each re-rating; in Stripe's keys
    created_at = models.DateTimeField()
    rated_at = models.DateTimeField()
    hold_reason = models.CharField(max_length=300, blank=True)
    void_reason = models.CharField(max_length=300, blank=True)
    approved_by = models.ForeignKey(
        User, models.SET_NULL, null=True, blank=True, related_name="approved_invoices"
    )
    approved_at = models.DateTimeField(null=True, blank=True)
    approved_hash = models.CharField(max_length=64, blank=True)
    issued_at = models.DateTimeField(null=True, blank=True)
    due_at = models.DateTimeField(null=True, blank=True)
    paid_at = models.DateTimeField(null=True, blank=True)
    amount_paid_minor = models.BigIntegerField(default=0)
    credited_minor = models.BigIntegerField(default=0)
    waiting_for = models.CharField(
        max_length=8, choices=CollectionWait, blank=True, default=CollectionWait.NOTHING
    )
    stripe_invoice_id = models.CharField(max_length=80, blank=True)
    stripe_total_minor = models.BigIntegerField(null=True, blank=True)
    hosted_url = models.CharField(max_length=500, blank=True)
    alarm = models.CharField(max_length=500, blank=True)  # a difference stops the issuing here
    dunning_step = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField(null=True, blank=True)
    pdf = models.BinaryField(null=True, blank=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["subscription", "period", "n"], name="invoice_chain_once"
            ),
            models.UniqueConstraint(
                fields=["subscription", "period"],
                condition=models.Q(state__in=sorted(UNISSUED)),
                name="invoice_one_unissued",
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["state", "created_at"]),
            models.Index(fields=["organization", "created_at"]),
        ]

    def __str__(self) -> str:
        return self.number or self.id

    @property
    def due_minor(self) -> int:
        """What is still asked for: never below zero."""
        return max(0, self.total_minor - self.credited_minor - self.amount_paid_minor)


DESCRIPTION_MAX: Final = 400
"""Characters of a line's description; a price's own may be longer and is cut there."""


class InvoiceLine(models.Model):
    """A line: the difference between what is rated now and what the chain has billed before.

    amount_minor, discount_minor   this document's part; the net is their difference
    rated_…                        the whole of the period as rated now
    evidence                       ids of the usage snapshots that its quantity comes from
    """

    id = IdField(prefix="ln")
    invoice = models.ForeignKey(Invoice, models.CASCADE, related_name="lines")
    position = models.PositiveIntegerField()
    line_key = models.CharField(max_length=200)
    price_key = models.CharField(max_length=120, blank=True)
    meter = models.CharField(max_length=60, blank=True)
    description = models.CharField(max_length=DESCRIPTION_MAX)
    formula = models.JSONField(default=list, blank=True)  # rows of unrounded arithmetic
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()  # exclusive
    quantity = DecimalText(null=True, blank=True)
    unit_amount = DecimalText(null=True, blank=True)
    is_adjustment = models.BooleanField(default=False)  # minimum, maximum, commitment
    amount_minor = models.BigIntegerField()
    discount_minor = models.BigIntegerField(default=0)
    rated_amount_minor = models.BigIntegerField()
    rated_discount_minor = models.BigIntegerField(default=0)
    evidence = models.JSONField(default=list, blank=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["invoice", "line_key"], name="line_key_once")
        ]
        ordering: ClassVar[list[str]] = ["position"]

    def __str__(self) -> str:
        return self.line_key

    @property
    def net_minor(self) -> int:
        return self.amount_minor - self.discount_minor

    @property
    def billed_before_minor(self) -> int:
        return self.rated_amount_minor - self.rated_discount_minor - self.net_minor


class InvoiceNumbering(models.Model):
    """The next number of a series; read and raised under a row lock, so numbers have no gap."""

    series = models.CharField(max_length=20, primary_key=True)
    next_value = models.PositiveBigIntegerField(default=1)

    def __str__(self) -> str:
        return f"{self.series} {self.next_value}"
