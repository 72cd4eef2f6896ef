"""From a plan version's quotas to window charges, and the graduated state of one (§9).

The window is chosen by the instant given (`admitted_at`). Billing and calendar windows come from
the snapshot as `[start, end)`; days and hours are UTC and worked out here.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

from gateway.contracts.snapshot import Entitlement, Interval, PlanVersion, Quota, WindowKind
from gateway.core.charges import WindowCharge
from gateway.core.instants import DAY_US, HOUR_US, to_us

_FIXED_US: Final = {WindowKind.DAY: DAY_US, WindowKind.HOUR: HOUR_US}


class QuotaState(StrEnum):
    """`Tollway-Quota-State`: within the quota, within the buffer above it, beyond both."""

    INCLUDED = "included"
    BUFFER = "buffer"
    OVERAGE = "overage"


class NoWindow(Exception):
    """The snapshot holds no window for this instant; it is too old."""


def window_at(quota: Quota, *, entitlement: Entitlement, now_us: int) -> tuple[int, int]:
    """Return the window `[start_us, end_us)` of a quota that holds the instant.

    :raises NoWindow: when the snapshot has none.
    """
    length = _FIXED_US.get(quota.window)
    if length is not None:
        start = now_us - now_us % length
        return start, start + length
    billing = quota.window is WindowKind.BILLING_PERIOD
    return _holding(entitlement.periods if billing else quota.windows, now_us)


def _holding(intervals: Iterable[Interval], now_us: int) -> tuple[int, int]:
    for interval in intervals:
        start, end = to_us(interval.start), to_us(interval.end)
        if start <= now_us < end:
            return start, end
    raise NoWindow


def counter_key(entitlement_id: str, quota: Quota, start_us: int) -> str:
    """Name the counter: `<entitlement>|<meter>|<start_us>`.

    A window that is not the billing period adds its kind to the meter, because a day and a month
    can start at the same instant and must not share a counter.
    """
    meter = quota.meter
    if quota.window is not WindowKind.BILLING_PERIOD:
        meter = f"{meter}/{quota.window.value}"
    return f"{entitlement_id}|{meter}|{start_us}"


def window_charges(
    plan: PlanVersion, *, entitlement: Entitlement, units: Mapping[str, int], now_us: int
) -> list[WindowCharge]:
    """Build one charge per quota whose meter the call uses, in the plan's order.

    :raises NoWindow: see `window_at`.
    """
    charges = []
    for quota in plan.quotas:
        amount = units.get(quota.meter, 0)
        if amount:
            charges.append(window_charge(quota, entitlement, amount, now_us))
    return charges


def all_windows(plan: PlanVersion, *, entitlement: Entitlement, now_us: int) -> list[WindowCharge]:
    """Build a charge of zero units for every quota of the plan, to read the levels.

    :raises NoWindow: see `window_at`.
    """
    return [window_charge(quota, entitlement, 0, now_us) for quota in plan.quotas]


def window_charge(quota: Quota, entitlement: Entitlement, units: int, now_us: int) -> WindowCharge:
    """Build the charge of one quota.

    :raises NoWindow: see `window_at`.
    """
    start, end = window_at(quota, entitlement=entitlement, now_us=now_us)
    percent = quota.block_at_percent
    return WindowCharge(
        key=counter_key(entitlement.id, quota, start),
        meter=quota.meter,
        start_us=start,
        end_us=end,
        quota=quota.quota,
        limit=quota.quota * percent // 100 if percent else None,
        units=units,
        alerts_at=quota.alerts_at,
    )


def quota_state(quota: Quota, used: int) -> QuotaState:
    """Tell how far a window is used.

    >>> quota = Quota(meter="m", quota=10, buffer_percent=120)
    >>> [quota_state(quota, used).value for used in (10, 12, 13)]
    ['included', 'buffer', 'overage']
    """
    if used <= quota.quota:
        return QuotaState.INCLUDED
    return QuotaState.BUFFER if used <= buffered_units(quota) else QuotaState.OVERAGE


def buffered_units(quota: Quota) -> int:
    """Return the units up to which the state is at most `BUFFER`; never below the quota.

    >>> buffered_units(Quota(meter="m", quota=11, buffer_percent=115))
    12
    """
    percent = max(quota.buffer_percent, quota.soft_limit_percent, 100)
    return quota.quota * percent // 100


def check_quotas(quotas: Iterable[Quota]) -> str:
    """Return what is wrong with a plan's quotas, or an empty string."""
    seen = set()
    for quota in quotas:
        if (quota.meter, quota.window) in seen:
            return f"two quotas on {quota.meter!r} share the window {quota.window.value}"
        seen.add((quota.meter, quota.window))
        if 0 < quota.block_at_percent < 100:
            return f"the quota on {quota.meter!r} would block before it is reached"
        if list(quota.alerts_at) != sorted(set(quota.alerts_at)):
            return f"the alerts on {quota.meter!r} must ascend"
    return ""
