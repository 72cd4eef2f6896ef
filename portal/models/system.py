"""The installation itself: gateway nodes, snapshot versions, the sandbox clock, audit, alerts."""

from typing import ClassVar

from django.db import models

from portal.models.organization import Organization, User
from portal.models.subscription import Subscription


class SnapshotVersion(models.Model):
    """One published snapshot, kept whole so that any waiter can be answered from the database."""

    version = models.PositiveBigIntegerField(primary_key=True)
    content_hash = models.CharField(max_length=80)
    document = models.JSONField()
    created_at = models.DateTimeField()
    refresh_at = models.DateTimeField(null=True, blank=True)  # product time: build again by then

    def __str__(self) -> str:
        return f"snapshot {self.version}"


class SnapshotDirty(models.Model):
    """A single row (id 1) whose counter services raise in the transaction of every change."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    changes = models.PositiveBigIntegerField(default=0)
    published_changes = models.PositiveBigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.changes} changes, {self.published_changes} published"


class Node(models.Model):
    """A gateway node, known from its first snapshot poll until it is retired or written off."""

    id = models.CharField(max_length=80, primary_key=True)
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    retired_at = models.DateTimeField(null=True, blank=True)
    written_off_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return self.id


class NodeBoot(models.Model):
    """One start of a node: what it admits from here on must be proven (rule 5)."""

    node = models.ForeignKey(Node, models.CASCADE, related_name="boots")
    boot = models.CharField(max_length=80)
    worker = models.PositiveIntegerField(default=0)
    first_seen_at = models.DateTimeField()  # product time
    last_seen_at = models.DateTimeField()  # wall time
    acknowledged_version = models.PositiveBigIntegerField(default=0)
    refused_version = models.PositiveBigIntegerField(null=True, blank=True)
    refused_reason = models.CharField(max_length=300, blank=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["node", "boot", "worker"], name="node_boot_once")
        ]

    def __str__(self) -> str:
        return f"{self.node_id}/{self.boot}/{self.worker}"


class ProductClock(models.Model):
    """The sandbox's clock (id 1): product time = wall time + offset, forward only."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    offset_us = models.BigIntegerField(default=0)
    moved_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"offset {self.offset_us} us"


class UsageAlert(models.Model):
    """A quota threshold that was crossed: once per subscription, meter, window, percent, quota.

    quota   the allowance in force then: a larger plan's 80 % is another threshold than the old's
    """

    subscription = models.ForeignKey(Subscription, models.CASCADE, related_name="alerts")
    meter = models.CharField(max_length=60)
    window_start = models.DateTimeField()
    window_end = models.DateTimeField(null=True, blank=True)  # exclusive
    percent = models.PositiveIntegerField()
    quota = models.BigIntegerField(default=0)
    crossed_at = models.DateTimeField()
    notified_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["subscription", "meter", "window_start", "percent", "quota"],
                name="alert_once",
            )
        ]

    def __str__(self) -> str:
        return f"{self.subscription_id} {self.meter} {self.percent} %"


class IdempotentCall(models.Model):
    """A call of the REST API that carried an `Idempotency-Key`: under way, or its kept answer."""

    scope = models.CharField(max_length=64, unique=True)  # hash of caller, method, path and key
    user = models.ForeignKey(User, models.CASCADE)
    claim = models.CharField(max_length=40)  # who carries it out; the next one replaces it
    request_hash = models.CharField(max_length=64)  # keyed hash of query and body
    status = models.PositiveSmallIntegerField(null=True, blank=True)  # null: under way
    media = models.CharField(max_length=80, blank=True)  # Content-Type of the answer
    sealed_answer = models.TextField(blank=True)  # the body, encrypted: it may hold a secret
    expires_at = models.DateTimeField(db_index=True)  # wall time

    def __str__(self) -> str:
        return f"{self.claim} {self.status or 'under way'}"


class AuditEvent(models.Model):
    """Who did what; append-only by database trigger, hash-chained per installation."""

    id = models.BigAutoField(primary_key=True)
    at = models.DateTimeField()
    actor = models.ForeignKey(User, models.SET_NULL, null=True, blank=True)
    actor_label = models.CharField(max_length=160)  # e-mail, token name or "system"
    organization = models.ForeignKey(Organization, models.SET_NULL, null=True, blank=True)
    action = models.CharField(max_length=80)  # `key.create`, `invoice.approve`
    target = models.CharField(max_length=80, blank=True)
    before = models.JSONField(null=True, blank=True)
    after = models.JSONField(null=True, blank=True)
    reason = models.CharField(max_length=300, blank=True)
    previous_hash = models.CharField(max_length=64)
    hash = models.CharField(max_length=64, unique=True)

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M} {self.actor_label} {self.action}"
