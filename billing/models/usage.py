"""The usage snapshot: what a period was rated from, frozen (`architecture.md` §4.7)."""

from typing import ClassVar

from django.db import models

from portal.models import BillingPeriod, PlanVersion, Segment, Subscription
from portal.models.fields import DecimalText, IdField


class UsageSnapshot(models.Model):
    """A meter's usage of one segment in one period. Never changed: later usage is a new revision.

    billed, counted   units; prices read `billed` alone
    events            the billed values in order, where a price needs each of them; else null
    id_hash           SHA-256 over the ordered `stream:seq` of the billed events
    watermark         the instant up to which usage was proven complete when this was taken
    """

    id = IdField(prefix="usn")
    subscription = models.ForeignKey(Subscription, models.PROTECT, related_name="usage_snapshots")
    segment = models.ForeignKey(Segment, models.PROTECT, related_name="usage_snapshots")
    period = models.ForeignKey(BillingPeriod, models.PROTECT, related_name="usage_snapshots")
    plan_version = models.ForeignKey(PlanVersion, models.PROTECT, related_name="usage_snapshots")
    plan_hash = models.CharField(max_length=80)
    meter = models.CharField(max_length=60)
    revision = models.PositiveIntegerField()
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()  # exclusive
    billed = DecimalText()
    counted = DecimalText()
    event_count = models.PositiveBigIntegerField()
    events = models.JSONField(null=True, blank=True)
    id_hash = models.CharField(max_length=64)
    watermark = models.DateTimeField()
    taken_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["subscription", "segment", "meter", "period", "revision"],
                name="usage_snapshot_once",
            )
        ]

    def __str__(self) -> str:
        return f"{self.period_id} {self.meter} r{self.revision}"


class Rebill(models.Model):
    """A period of which a document became void: what it billed is open again.

    Closed, the period is rated once more and this row is gone; until then the close does it.
    """

    period = models.OneToOneField(
        BillingPeriod, models.CASCADE, primary_key=True, related_name="rebill"
    )
    since = models.DateTimeField()

    def __str__(self) -> str:
        return str(self.pk)
