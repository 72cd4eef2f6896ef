"""Celery tasks of the portal: each calls one service; every one may be lost and run twice."""

from celery import shared_task

from portal import clock
from portal.queue import Scan
from portal.services.idempotent_calls import calls_purge
from portal.services.periods import periods_open_due
from portal.snapshots import snapshot_due, snapshot_publish, snapshot_state


@shared_task(name="portal.snapshot_publish")
def snapshot_publish_task() -> None:
    """Publish what changed, unless the endpoint's ticker was quicker."""
    now = clock.now()
    if snapshot_due(snapshot_state(), now=now):
        snapshot_publish(now=now)


@shared_task(base=Scan, name="portal.scan_periods")
def scan_periods_task() -> None:
    """Open the billing periods that are short, and let subscriptions follow planned changes."""
    periods_open_due(now=clock.now())


@shared_task(name="portal.purge_calls")
def purge_calls_task() -> None:
    """Forget the answers that are no longer repeated."""
    calls_purge(wall=clock.wall_now())
