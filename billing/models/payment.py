"""What is exchanged with the collector: accounts, payments, calls going out, events coming in."""

from typing import ClassVar

from django.db import models

from billing.models.invoice import Invoice
from portal.models import Organization
from portal.models.fields import IdField


class CustomerAccount(models.Model):
    """An organization at Stripe: its customer and the card it pays with."""

    organization = models.OneToOneField(
        Organization, models.PROTECT, primary_key=True, related_name="account"
    )
    stripe_customer_id = models.CharField(max_length=80, blank=True)
    payment_method_id = models.CharField(max_length=80, blank=True)
    card_brand = models.CharField(max_length=30, blank=True)
    card_last4 = models.CharField(max_length=4, blank=True)
    card_expires = models.CharField(max_length=7, blank=True)  # MM/YYYY
    setup_session_id = models.CharField(max_length=200, blank=True)
    generation = models.PositiveIntegerField(default=0)  # raised when the customer was deleted
    updated_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.organization_id


class PaymentState(models.TextChoices):
    STARTED = "started", "Started"
    SUCCEEDED = "succeeded", "Succeeded"
    FAILED = "failed", "Failed"
    ACTION_REQUIRED = "action_required", "Action required"


class Payment(models.Model):
    """One attempt to collect an open invoice; a failed one never changes the invoice."""

    id = IdField(prefix="pay")
    invoice = models.ForeignKey(Invoice, models.PROTECT, related_name="payments")
    attempt = models.PositiveIntegerField()
    state = models.CharField(max_length=16, choices=PaymentState, default=PaymentState.STARTED)
    amount_minor = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    decline_code = models.CharField(max_length=60, blank=True)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["invoice", "attempt"], name="payment_attempt_once")
        ]

    def __str__(self) -> str:
        return f"{self.invoice_id} #{self.attempt}"


class OutboxState(models.TextChoices):
    PENDING = "pending", "Pending"
    DONE = "done", "Done"


class Outbox(models.Model):
    """One outward call, stored with its key and body hash before it is made (rule 10).

    sent_at   wall time of the first try; after 24 h the key may be forgotten, so look first
    """

    key = models.CharField(max_length=255, primary_key=True)
    invoice = models.ForeignKey(Invoice, models.PROTECT, related_name="outbox")
    step = models.CharField(max_length=40)
    body_hash = models.CharField(max_length=64)
    state = models.CharField(max_length=10, choices=OutboxState, default=OutboxState.PENDING)
    attempts = models.PositiveIntegerField(default=0)
    sent_at = models.DateTimeField(null=True, blank=True)
    due_at = models.DateTimeField()  # wall time: it follows Stripe's patience, not the sandbox's
    last_error = models.CharField(max_length=300, blank=True)
    result_id = models.CharField(max_length=80, blank=True)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["state", "due_at"])]

    def __str__(self) -> str:
        return self.key


class InboxState(models.TextChoices):
    STORED = "stored", "Stored"
    APPLIED = "applied", "Applied"
    IGNORED = "ignored", "Ignored"


class WebhookInbox(models.Model):
    """A webhook event, once; a worker applies it and marks it in one transaction."""

    event_id = models.CharField(max_length=120, primary_key=True)
    type = models.CharField(max_length=80)
    object_id = models.CharField(max_length=120, blank=True)
    customer_id = models.CharField(max_length=120, blank=True)
    payload = models.JSONField()
    state = models.CharField(max_length=10, choices=InboxState, default=InboxState.STORED)
    attempts = models.PositiveIntegerField(default=0)
    last_error = models.CharField(max_length=300, blank=True)
    received_at = models.DateTimeField()  # wall time
    applied_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["state", "received_at"])]

    def __str__(self) -> str:
        return self.event_id


class Finding(models.Model):
    """A break that a reconciliation found; open ones block the next close of that customer."""

    id = IdField(prefix="fnd")
    organization = models.ForeignKey(
        Organization, models.CASCADE, null=True, blank=True, related_name="findings"
    )
    invoice = models.ForeignKey(
        Invoice, models.CASCADE, null=True, blank=True, related_name="findings"
    )
    key = models.CharField(max_length=200, unique=True)  # one row per break, however often seen
    kind = models.CharField(max_length=40)
    detail = models.CharField(max_length=500)
    found_at = models.DateTimeField()
    resolved_at = models.DateTimeField(null=True, blank=True)
    resolution = models.CharField(max_length=300, blank=True)

    def __str__(self) -> str:
        return self.key
