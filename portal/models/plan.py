"""Offers and their immutable versions."""

from typing import ClassVar

from django.db import models

from portal.models.api import Api
from portal.models.fields import IdField


class Plan(models.Model):
    """The offer; what it costs and allows is in its versions."""

    id = IdField(prefix="pln")
    slug = models.SlugField(max_length=60, unique=True)
    name = models.CharField(max_length=120)
    description = models.CharField(max_length=300, blank=True)
    apis = models.ManyToManyField(Api, related_name="plans")
    is_public = models.BooleanField(default=True)
    rank = models.IntegerField(default=0)  # order on the pricing page; a higher rank = an upgrade
    archived_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name


class PlanVersion(models.Model):
    """A version: a draft until published, then never changed.

    terms     `pricing.md` §2 `terms` (prices, minimum_commitment, discounts, credits, tax)
    limits    `{"quotas": [...], "rate_limits": [...], "count_policy": {...}, "routes": null}` in
              the snapshot contract's field names (`portal.core.plan_terms` checks both)
    """

    id = IdField(prefix="pv")
    plan = models.ForeignKey(Plan, models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    currency = models.CharField(max_length=3, default="USD")
    terms = models.JSONField(default=dict)
    limits = models.JSONField(default=dict)
    trial_days = models.PositiveIntegerField(default=0)
    past_due_grace_days = models.PositiveIntegerField(default=7)
    threshold_minor = models.PositiveBigIntegerField(null=True, blank=True)  # bill usage at once
    note = models.CharField(max_length=300, blank=True)
    content_hash = models.CharField(max_length=80, blank=True)  # of terms + limits, when published
    published_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["plan", "number"], name="plan_version_number_once")
        ]

    def __str__(self) -> str:
        return f"{self.plan_id} v{self.number}"
