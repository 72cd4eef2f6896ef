"""What is sold: APIs, their upstreams, routes and meters."""

from typing import ClassVar

from django.db import models

from portal.models.fields import IdField


class Api(models.Model):
    """A group of routes that a plan can cover."""

    id = IdField(prefix="api")
    name = models.CharField(max_length=120)
    slug = models.SlugField(max_length=60, unique=True)
    description = models.TextField(blank=True)
    is_published = models.BooleanField(default=False)
    openapi = models.JSONField(null=True, blank=True)
    sample_path = models.CharField(max_length=300, blank=True)  # the curl on /start
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name


class Upstream(models.Model):
    """Where an API's requests go; see the snapshot contract for the meaning of each field."""

    id = IdField(prefix="ups")
    name = models.SlugField(max_length=60, unique=True)
    targets = models.JSONField()  # {"http://host:port": weight}
    base_path = models.CharField(max_length=200, blank=True)
    host_header = models.CharField(max_length=200, blank=True)
    connect_timeout_ms = models.PositiveIntegerField(default=2_000)
    send_timeout_ms = models.PositiveIntegerField(default=30_000)
    read_timeout_ms = models.PositiveIntegerField(default=30_000)
    retries = models.PositiveSmallIntegerField(default=1)
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name


class Route(models.Model):
    """One route of an API; `path` is exact, a template or a `/*` prefix."""

    id = IdField(prefix="rte")
    api = models.ForeignKey(Api, models.CASCADE, related_name="routes")
    upstream = models.ForeignKey(Upstream, models.PROTECT, related_name="routes")
    name = models.SlugField(max_length=80)
    path = models.CharField(max_length=300)
    methods = models.JSONField(default=list, blank=True)
    hosts = models.JSONField(default=list, blank=True)
    priority = models.IntegerField(default=0)
    is_public = models.BooleanField(default=False)
    strip_prefix = models.CharField(max_length=200, blank=True)
    units = models.JSONField(default=dict, blank=True)  # meter slug -> integer units; {} = 1 call
    max_body_bytes = models.PositiveIntegerField(default=10_485_760)
    read_timeout_ms = models.PositiveIntegerField(default=0)
    query_key = models.BooleanField(default=False)
    scopes = models.JSONField(default=list, blank=True)  # a key must hold all; [] = none required
    description = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["api", "name"], name="route_name_once_per_api")
        ]

    def __str__(self) -> str:
        return self.name


class Meter(models.Model):
    """A counted quantity; its slug is the key of `quantities` in events and of prices."""

    id = IdField(prefix="mtr")
    slug = models.SlugField(max_length=60, unique=True)
    name = models.CharField(max_length=120)
    unit = models.CharField(max_length=40, default="request")
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.slug
