"""The prepaid wallet: grants, and what invoices drew on them."""

from typing import ClassVar

from django.db import models

from billing.models.invoice import Invoice
from portal.models import Organization, Subscription
from portal.models.fields import IdField


class CreditGrant(models.Model):
    """Prepaid credit. What is left = amount less the draws of documents that are not void.

    key   names the grant once: a plan's credit is granted to a subscription a single time
    """

    id = IdField(prefix="cg")
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="credit_grants")
    subscription = models.ForeignKey(
        Subscription, models.PROTECT, null=True, blank=True, related_name="credit_grants"
    )
    key = models.CharField(max_length=160, unique=True)
    currency = models.CharField(max_length=3)
    amount_minor = models.BigIntegerField()
    priority = models.IntegerField(default=0)
    applies_to = models.JSONField(null=True, blank=True)  # price keys; null = everything
    expires_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.key


class CreditDraw(models.Model):
    """What one invoice took from one grant."""

    grant = models.ForeignKey(CreditGrant, models.PROTECT, related_name="draws")
    invoice = models.ForeignKey(Invoice, models.CASCADE, related_name="credit_draws")
    amount_minor = models.BigIntegerField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["grant", "invoice"], name="credit_draw_once")
        ]

    def __str__(self) -> str:
        return f"{self.amount_minor} of {self.grant_id}"
