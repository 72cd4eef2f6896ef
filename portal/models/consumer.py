"""Applications of a customer and what they authenticate with."""

from typing import ClassVar

from django.db import models

from portal.models.fields import IdField
from portal.models.organization import Organization, User


class Environment(models.TextChoices):
    LIVE = "live", "Live"
    TEST = "test", "Test"


class Consumer(models.Model):
    """The identity that the gateway sees; counters do not depend on the credential used."""

    id = IdField(prefix="con")
    organization = models.ForeignKey(Organization, models.CASCADE, related_name="consumers")
    name = models.CharField(max_length=120)
    username = models.SlugField(max_length=80, unique=True)  # X-Consumer-Username
    custom_id = models.CharField(max_length=120, blank=True)
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name


class Credential(models.Model):
    """An API key. Live secrets are kept as a hash only; test ones also encrypted."""

    id = IdField(prefix="key")  # the public id, X-Credential-Identifier
    consumer = models.ForeignKey(Consumer, models.CASCADE, related_name="credentials")
    name = models.CharField(max_length=80)
    environment = models.CharField(max_length=8, choices=Environment)
    key_hash = models.CharField(max_length=64, unique=True)  # SHA-256 of the whole key, hex
    prefix = models.CharField(max_length=16)  # shown: tw_live_…last4
    last4 = models.CharField(max_length=4)
    sealed_secret = models.TextField(blank=True)  # test keys only, encrypted
    scopes = models.JSONField(default=list, blank=True)  # held, for the routes that require one
    ip_allow = models.JSONField(default=list, blank=True)
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True)
    created_at = models.DateTimeField()
    not_before = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    rotated_to = models.OneToOneField(
        "self", models.SET_NULL, null=True, blank=True, related_name="rotated_from"
    )

    class Meta:
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["consumer", "environment"])]

    def __str__(self) -> str:
        return f"{self.prefix}…{self.last4}"


class ApiToken(models.Model):
    """A token for the REST API; acts for a user, hashed, scoped by that user's roles."""

    id = IdField(prefix="tok")
    user = models.ForeignKey(User, models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=80)
    token_hash = models.CharField(max_length=64, unique=True)
    last4 = models.CharField(max_length=4)
    scopes = models.JSONField(default=list)  # read, write, admin, finance
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return self.name
