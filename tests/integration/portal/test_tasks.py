"""The portal's tasks: registered under the names that are enqueued, and they do the work."""

from datetime import timedelta

import pytest

from portal import clock
from portal.celery import app
from portal.models import SnapshotVersion
from portal.queue import TASK_NAMES, Scan
from portal.services.subscriptions import subscription_create
from portal.snapshots import snapshot_state, snapshot_touch
from portal.tasks import scan_periods_task, snapshot_publish_task
from tests.factories.provider import make_api, make_organization, make_plan_version


def test_every_task_that_is_enqueued_or_scheduled_is_registered() -> None:
    scheduled = {entry["task"] for entry in app.conf.beat_schedule.values()}
    app.loader.import_default_modules()
    assert scheduled | TASK_NAMES <= set(app.tasks)
    scans = {name for name, task in app.tasks.items() if isinstance(task, Scan)}
    assert len(scans) == 5
    assert scans <= scheduled


@pytest.mark.django_db
def test_a_publish_without_a_change_makes_no_version() -> None:
    snapshot_publish_task()
    snapshot_publish_task()
    assert SnapshotVersion.objects.count() == 1
    snapshot_touch()
    snapshot_publish_task()
    assert not snapshot_state().pending


@pytest.mark.django_db
def test_the_scan_opens_what_is_short() -> None:
    subscription = subscription_create(
        organization=make_organization(),
        version=make_plan_version(make_api()),
        actor=None,
        now=clock.now(),
    )
    subscription.periods.filter(number__gt=0).delete()
    scan_periods_task()
    assert subscription.periods.count() == 3
    last = subscription.periods.latest("number")
    assert last.ends_at > clock.now() + timedelta(days=80)
