"""The sandbox's clock: a forward-only offset that moves quotas, billing and dunning together."""

from datetime import UTC, datetime, timedelta
from typing import Final

from django.conf import settings
from django.db import transaction

from portal import clock
from portal.errors import ClockBackwardError, ClockRealError, InputInvalidError
from portal.models import ProductClock, User
from portal.services.audit import audit_record
from portal.services.periods import periods_open_due
from portal.snapshots import snapshot_touch

_MICROSECOND: Final = timedelta(microseconds=1)
START: Final = datetime(2000, 1, 1, tzinfo=UTC)  # when every test environment begins
END: Final = datetime(2200, 1, 1, tzinfo=UTC)  # well before the usage log's times end, in 2299


def clock_start(*, at: datetime, wall: datetime) -> None:
    """Give a new sandbox its first offset, which may be negative; later it only moves forward.

    :raises ClockRealError: outside a sandbox.
    :raises ClockBackwardError: when the clock has been set before.
    :raises InputInvalidError: for a time outside `[START, END]`.
    """
    _check_sandbox()
    if not START <= at <= END:
        raise _beyond("at")
    offset_us = (at - wall) // _MICROSECOND
    with transaction.atomic():
        _, created = ProductClock.objects.get_or_create(
            pk=1, defaults={"offset_us": offset_us, "moved_at": wall}
        )
        if not created:
            raise ClockBackwardError
        audit_record(
            actor=None,
            action="clock.start",
            target="clock",
            after={"offset_us": offset_us},
            now=at,
        )
        snapshot_touch()


def clock_advance(
    *,
    actor: User | None,
    wall: datetime,
    to: datetime | None = None,
    by: timedelta | None = None,
    actor_label: str = "",
) -> datetime:
    """Move the product's time forward, to an instant or by a length; return the new time.

    wall   the machine's time, from which the offset counts

    :raises ClockRealError: outside a sandbox.
    :raises ClockBackwardError: for a step that is not forward.
    :raises InputInvalidError: for one beyond `END`.
    """
    _check_sandbox()
    with transaction.atomic():
        ProductClock.objects.get_or_create(pk=1)
        row = ProductClock.objects.select_for_update().get(pk=1)
        before = wall + timedelta(microseconds=row.offset_us)
        step = to - before if to is not None else by or timedelta(0)
        if step <= timedelta(0):
            raise ClockBackwardError
        if step > END - before:
            raise _beyond("by" if to is None else "to")
        target = before + step
        offset_us = (target - wall) // _MICROSECOND
        ProductClock.objects.filter(pk=1).update(offset_us=offset_us, moved_at=wall)
        audit_record(
            actor=actor,
            actor_label=actor_label,
            action="clock.advance",
            target="clock",
            before={"at": before},
            after={"at": target},
            now=target,
        )
        periods_open_due(now=target)
        snapshot_touch()
    return clock.offset() + wall


def _beyond(name: str) -> InputInvalidError:
    text = f"must lead to a time from {START:%Y-%m-%d} to {END:%Y-%m-%d}"
    return InputInvalidError([(name, "too_far", text)])


def _check_sandbox() -> None:
    if not settings.ENV.sandbox:
        raise ClockRealError
