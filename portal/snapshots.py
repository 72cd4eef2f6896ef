"""Builds and publishes the gateways' snapshot.

Services call `snapshot_touch` in the transaction of every change that a gateway must learn of.
`snapshot_publish` turns the rows as they are into the next version, whoever calls it: the task,
the long-poll endpoint's ticker, a command. Versions are given by compare-and-set, so that two
publishers never disagree, and a content that did not change makes no version.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, TypeVar

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F, Max, Q, QuerySet

from gateway.contracts.snapshot import build_document
from portal import clock
from portal.core import snapshot_build as rows_of
from portal.core.snapshot_build import SnapshotRows, build_snapshot
from portal.models import (
    Api,
    BillingPeriod,
    Consumer,
    Credential,
    Organization,
    Plan,
    PlanVersion,
    Route,
    Segment,
    SnapshotDirty,
    SnapshotVersion,
    Subscription,
    Upstream,
)
from portal.queue import enqueue_on_commit

KEPT_VERSIONS: Final = 5
FORGET_AFTER: Final = timedelta(days=30)  # revoked and expired credentials, ended subscriptions

Row = TypeVar("Row", bound=tuple[Any, ...])


class PublishState(NamedTuple):
    """What decides whether there is something to publish; one cheap reading."""

    version: int  # 0 = nothing published yet
    pending: bool  # changes not yet in a version
    refresh_at: datetime | None


def snapshot_touch() -> None:
    """Note, in the caller's transaction, that the snapshot must be built again."""
    updated = SnapshotDirty.objects.filter(pk=1).update(changes=F("changes") + 1)
    if updated == 0:
        SnapshotDirty.objects.get_or_create(pk=1)
        SnapshotDirty.objects.filter(pk=1).update(changes=F("changes") + 1)
    enqueue_on_commit("portal.snapshot_publish")


def snapshot_state() -> PublishState:
    """Read the newest version and whether changes wait for the next."""
    newest = (
        SnapshotVersion.objects.order_by("-version").values_list("version", "refresh_at").first()
    )
    pending = SnapshotDirty.objects.filter(pk=1, changes__gt=F("published_changes")).exists()
    version, refresh_at = newest or (0, None)
    return PublishState(version, pending, refresh_at)


def snapshot_due(state: PublishState, *, now: datetime) -> bool:
    """Say whether a publish would have something to do."""
    overdue = state.refresh_at is not None and state.refresh_at <= now
    return state.version == 0 or state.pending or overdue


def snapshot_publish(*, now: datetime) -> int:
    """Publish the rows as they are, if they differ from the newest version; return the newest.

    The version and the change counter are read before the rows: whoever changes a row meanwhile
    raises the counter again and is published next.
    """
    newest = SnapshotVersion.objects.order_by("-version").defer("document").first()
    counted = SnapshotDirty.objects.filter(pk=1).values_list("changes", flat=True).first() or 0
    built = build_snapshot(
        snapshot_rows_read(now=now), now=now, portal_url=settings.ENV.portal_url.rstrip("/")
    )
    document = build_document(
        version=newest.version + 1 if newest else 1,
        clock_offset_us=clock.offset() // timedelta(microseconds=1),
        sandbox=settings.ENV.sandbox,
        objects=built.objects,
    )
    if newest and newest.content_hash == document["hash"]:
        SnapshotVersion.objects.filter(pk=newest.pk).update(refresh_at=built.refresh_at)
    elif not _version_insert(document, refresh_at=built.refresh_at, now=now):
        return _newest_version()
    SnapshotDirty.objects.filter(pk=1, published_changes__lt=counted).update(
        published_changes=counted
    )
    return _newest_version()


def _version_insert(
    document: dict[str, Any], *, refresh_at: datetime | None, now: datetime
) -> bool:
    """Insert the version; False = another publisher took its number."""
    version = document["version"]
    try:
        with transaction.atomic():
            SnapshotVersion(
                version=version,
                content_hash=document["hash"],
                document=document,
                created_at=now,
                refresh_at=refresh_at,
            ).save(force_insert=True)
    except IntegrityError:
        return False
    SnapshotVersion.objects.filter(version__lte=version - KEPT_VERSIONS).delete()
    return True


def _newest_version() -> int:
    return SnapshotVersion.objects.aggregate(newest=Max("version"))["newest"] or 0


def snapshot_rows_read(*, now: datetime) -> SnapshotRows:
    """Read what a snapshot is built from: one query per table, columns only."""
    memory = now - FORGET_AFTER
    wall_memory = memory - clock.offset()  # credentials live by the wall clock
    subscriptions = Q(ends_at__isnull=True) | Q(ends_at__gt=memory)
    of_them = Q(subscription__ends_at__isnull=True) | Q(subscription__ends_at__gt=memory)
    return SnapshotRows(
        apis=_read(rows_of.ApiRow, Api.objects.order_by("id")),
        upstreams=_read(rows_of.UpstreamRow, Upstream.objects.order_by("id")),
        routes=_read(rows_of.RouteRow, Route.objects.order_by("created_at", "id")),
        organizations=_read(rows_of.OrganizationRow, Organization.objects.order_by("id")),
        consumers=_read(rows_of.ConsumerRow, Consumer.objects.order_by("id")),
        credentials=_read(
            rows_of.CredentialRow,
            Credential.objects.filter(
                Q(revoked_at__isnull=True) | Q(revoked_at__gt=wall_memory),
                Q(expires_at__isnull=True) | Q(expires_at__gt=wall_memory),
            ).order_by("id"),
        ),
        plan_versions=_read(
            rows_of.PlanVersionRow,
            PlanVersion.objects.filter(published_at__isnull=False).order_by("id"),
        ),
        plan_apis=list(Plan.apis.through.objects.values_list("plan_id", "api_id")),
        subscriptions=_read(
            rows_of.SubscriptionRow, Subscription.objects.filter(subscriptions).order_by("id")
        ),
        segments=_read(
            rows_of.SegmentRow,
            Segment.objects.filter(
                of_them,
                Q(ends_at__isnull=True)
                | Q(ends_at__gt=now - rows_of.SEGMENT_MEMORY)
                | Q(subscription__paused_at__isnull=False),
            ).order_by("starts_at", "id"),
        ),
        periods=_read(
            rows_of.PeriodRow,
            BillingPeriod.objects.filter(of_them, ends_at__gt=now).order_by("starts_at", "id"),
        ),
    )


def _read(row: type[Row], query: QuerySet[Any]) -> list[Row]:
    fields: Iterable[str] = row._fields  # type: ignore[attr-defined]
    return [row(*values) for values in query.values_list(*fields)]
