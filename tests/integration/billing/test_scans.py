"""Scans behind a worker that is late: as `apply` runs a task, a worker does."""

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache

from billing.services.alerts import alerts_take
from billing.tasks import scan_due
from portal.clock import now
from portal.models import UsageAlert
from tests.factories.billing import customer
from tests.fakes.usage import FakeUsageReader
from tests.integration.billing.test_alerts import crossing

pytestmark = pytest.mark.django_db
NOTIFY = "portal.alert_notify"


def test_scans_that_queued_up_send_what_is_due_once(
    monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    cache.clear()
    sent: Counter[tuple[str, Any]] = Counter()
    monkeypatch.setattr(
        "portal.queue._send", lambda name, ids: sent.update([(name, *ids.values())])
    )
    who = customer()
    end = now() + timedelta(days=1)
    crossings = [crossing(who, percent, now(), window_end=end) for percent in (80, 95, 100)]
    alerts_take(reader=FakeUsageReader(crossings=crossings), now=now())
    due = {(NOTIFY, pk): 1 for pk in UsageAlert.objects.values_list("pk", flat=True)}
    assert len(due) == 3

    with django_capture_on_commit_callbacks(execute=True):
        for _ in range(8):
            scan_due.apply().get()
    assert {row: n for row, n in sent.items() if row[0] == NOTIFY} == due

    cache.clear()  # the mark is over: what was lost, or is due still, is sent again
    with django_capture_on_commit_callbacks(execute=True):
        scan_due.apply().get()
    assert {n for row, n in sent.items() if row[0] == NOTIFY} == {2}
