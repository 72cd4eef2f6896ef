"""Who is on which plan version, since when; billing derives everything else from here."""

from typing import ClassVar

from django.db import models

from portal.models.fields import IdField
from portal.models.organization import Organization
from portal.models.plan import Plan, PlanVersion


class Subscription(models.Model):
    """Stable; its segments bind it to plan versions. Quotas count per subscription."""

    id = IdField(prefix="sub")
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="subscriptions")
    plan = models.ForeignKey(Plan, models.PROTECT, related_name="subscriptions")  # the current one
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField(null=True, blank=True)  # exclusive
    billing_anchor = models.DateTimeField()
    trial_ends_at = models.DateTimeField(null=True, blank=True)
    paused_at = models.DateTimeField(null=True, blank=True)
    threshold_minor = models.PositiveBigIntegerField(null=True, blank=True)  # before the plan's
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.id


class Segment(models.Model):
    """A stretch `[starts_at, ends_at)` of a subscription with constant terms."""

    id = IdField(prefix="seg")
    subscription = models.ForeignKey(Subscription, models.CASCADE, related_name="segments")
    plan_version = models.ForeignKey(PlanVersion, models.PROTECT, related_name="segments")
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField(null=True, blank=True)  # exclusive
    carry_over = models.BooleanField(default=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["subscription"],
                condition=models.Q(ends_at__isnull=True),
                name="segment_one_open",
            ),
            models.UniqueConstraint(
                fields=["subscription", "starts_at"], name="segment_start_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.subscription_id} from {self.starts_at:%Y-%m-%d}"


class BillingPeriod(models.Model):
    """A period `[starts_at, ends_at)`, stored when opened and never recomputed (ADR-0003)."""

    id = IdField(prefix="per")
    subscription = models.ForeignKey(Subscription, models.CASCADE, related_name="periods")
    number = models.PositiveIntegerField()  # 0, 1, 2 … from the anchor
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)  # written by billing

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["subscription", "number"], name="period_number_once"),
            models.UniqueConstraint(fields=["subscription", "starts_at"], name="period_once"),
        ]

    def __str__(self) -> str:
        return f"{self.subscription_id} {self.starts_at:%Y-%m-%d}"
