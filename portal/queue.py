"""Enqueue work by task name; services sit below tasks and never import them.

A message may be lost (`architecture.md` §4.10): every task only advances a row that a scan finds
again, so nothing here retries.
"""

from typing import Any, Final

from celery import Task, current_app
from django.core.cache import cache
from django.db import transaction
from kombu.exceptions import OperationalError

TASK_NAMES: Final = frozenset(
    {
        "billing.credit_note_issue",
        "billing.invoice_advance",
        "billing.period_close",
        "billing.period_rebill",
        "billing.invoice_issue",
        "billing.invoice_reconcile",
        "billing.payment_collect",
        "billing.subscription_recheck",
        "billing.threshold_check",
        "billing.webhook_apply",
        "billing.checkout_settle",
        "portal.snapshot_publish",
        "portal.alert_notify",
    }
)
"""Every name that is enqueued; a test checks that each is registered."""


class Scan(Task):  # type: ignore[type-arg]  # generic in the stubs alone
    """A task of the beat that sends what is due; one right behind another does nothing.

    The queue is first in, first out: a scan runs once the rows that an earlier one sent are taken.
    Workers that are behind find several scans in a row, and each would send again every row that
    is still due, more than the last time. So one scan speaks for half its period. The mark is a
    cache entry that saves work and decides nothing; a scan that is called as a function runs.
    """

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.request.called_directly or cache.add(f"scan:{self.name}", 1, self._speaks_s()):
            return super().__call__(*args, **kwargs)
        return None

    def _speaks_s(self) -> int:
        return int(self.app.conf.beat_schedule[self.name]["schedule"]) // 2


def enqueue_on_commit(task_name: str, **ids: str | int) -> None:
    """Send the task once the surrounding transaction has committed.

    :raises KeyError: for a name that is not in `TASK_NAMES`.
    """
    if task_name not in TASK_NAMES:
        raise KeyError(task_name)
    transaction.on_commit(lambda: _send(task_name, dict(ids)))


def _send(task_name: str, ids: dict[str, str | int]) -> None:
    try:
        current_app.send_task(task_name, kwargs=ids)
    except (OperationalError, OSError):
        return  # the due scan finds the row
