"""Outward calls: the key and the body's hash are stored before the call (`stripe.md` §3).

A second run of the same step finds the same key. Within 24 hours the collector answers it with
what it did the first time; after that the key may be forgotten, so the step looks before it acts.
Times here are wall time: they follow the collector's patience, not the sandbox's clock.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeVar

from django.db.models import F

from billing.errors import CollectorBusyError, CollectorUnavailableError
from billing.models import Invoice, Outbox, OutboxState

KEY_LIFETIME: Final = timedelta(hours=24)
BACKOFF_S: Final = (5, 15, 60, 300, 900, 3_600)
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One outward call of an invoice."""

    invoice: Invoice
    name: str
    body_hash: str
    suffix: str = ""

    @property
    def key(self) -> str:
        tail = f":{self.suffix}" if self.suffix else ""
        return f"{self.invoice.pk}:{self.name}:r{self.invoice.revision}{tail}"[:255]


def outbox_call(
    *,
    step: Step,
    wall: datetime,
    call: Callable[[str], T],
    look: Callable[[], T | None],
) -> T:
    """Store the step, make the call with its key, mark it done.

    look   finds what an earlier try made, asked only where the key may be forgotten

    :raises CollectorBusyError: told to wait; no attempt is counted.
    :raises CollectorUnavailableError: the outcome is unknown; the same step runs again later.
    """
    row, _ = Outbox.objects.get_or_create(
        pk=step.key,
        defaults={
            "invoice": step.invoice,
            "step": step.name,
            "body_hash": step.body_hash,
            "due_at": wall,
        },
    )
    if row.sent_at is not None and wall - row.sent_at >= KEY_LIFETIME:
        found = look()
        if found is not None:
            _done(row)
            return found
    if row.sent_at is None:
        Outbox.objects.filter(pk=row.pk, sent_at__isnull=True).update(sent_at=wall)
    try:
        result = call(step.key)
    except CollectorBusyError as error:
        _later(row, wall + timedelta(seconds=error.retry_after_s), error, counted=0)
        raise
    except CollectorUnavailableError as error:
        wait_s = BACKOFF_S[min(row.attempts, len(BACKOFF_S) - 1)]
        _later(row, wall + timedelta(seconds=wait_s), error, counted=1)
        raise
    _done(row)
    return result


def _done(row: Outbox) -> None:
    Outbox.objects.filter(pk=row.pk).update(
        state=OutboxState.DONE, attempts=F("attempts") + 1, last_error=""
    )


def _later(row: Outbox, due_at: datetime, error: Exception, *, counted: int) -> None:
    Outbox.objects.filter(pk=row.pk).update(
        due_at=due_at, attempts=F("attempts") + counted, last_error=str(error)[:300]
    )
