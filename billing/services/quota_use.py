"""How far the quotas of a subscription are used, from the same usage that is invoiced.

Used = billed + counted units, as the gateway counts them (`architecture.md` §4.9). Quotas of the
billing period are exact; shorter windows are read over their own bounds.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from billing.services.rated import MeterFact
from gateway.contracts.snapshot import Quota, WindowKind
from metering.queries import MeterUsage, UsageReader
from portal.core.calendar import month_windows
from portal.models import BillingPeriod, PlanVersion, Subscription

_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)
FULL_PERCENT: Final = 100
MONTHLY: Final = frozenset({WindowKind.BILLING_PERIOD, WindowKind.CALENDAR_MONTH})
_DEFAULT: Final = Quota(meter="", quota=0)
DEFAULT_ALERTS: Final = _DEFAULT.alerts_at
DEFAULT_BLOCK_PERCENT: Final = _DEFAULT.block_at_percent


@dataclass(frozen=True, slots=True)
class QuotaUse:
    """One quota in its current window `[starts_at, ends_at)`.

    limit   where calls are refused with 429; None = never, what goes beyond is overage
    """

    meter: str
    window: WindowKind
    starts_at: datetime
    ends_at: datetime
    used: int
    quota: int
    limit: int | None
    alerts_at: tuple[int, ...]

    @property
    def percent(self) -> int:
        return self.used * FULL_PERCENT // self.quota if self.quota else 0

    @property
    def remaining(self) -> int:
        """Units until calls are refused, else until overage begins; never below zero."""
        bound = self.quota if self.limit is None else self.limit
        return max(0, bound - self.used)

    @property
    def beyond(self) -> int:
        """Units above the quota."""
        return max(0, self.used - self.quota)

    @property
    def is_blocked(self) -> bool:
        return self.limit is not None and self.used >= self.limit

    @property
    def alert_percent(self) -> int:
        """The highest alert that is passed; 0 = none."""
        return max((p for p in self.alerts_at if self.percent >= p), default=0)

    @property
    def scale(self) -> int:
        """Where the gauge ends: at the refusal, else a quarter beyond the quota."""
        bound = self.quota * 5 // 4 if self.limit is None else self.limit
        return max(bound, self.quota)


@dataclass(frozen=True, slots=True)
class LimitWarning:
    """A quota of another plan that this period's use already exceeds."""

    meter: str
    used: int
    quota: int
    blocks: bool


def quota_use_list(
    *,
    subscription: Subscription,
    version: PlanVersion,
    period: BillingPeriod,
    reader: UsageReader,
    now: datetime,
    in_period: Mapping[str, MeterFact] | None = None,
) -> tuple[QuotaUse, ...]:
    """Return a row per quota of `version`, in the plan's order.

    in_period   what the billing period has used up to `now`, where the caller has read it already

    :raises MeteringUnavailableError: when usage cannot be read.
    """
    read: dict[tuple[datetime, datetime], dict[str, int]] = {}
    if in_period is not None:
        read[period.starts_at, period.ends_at] = _used(in_period.values())
    rows = []
    for quota in version.limits.get("quotas", []):
        window = _window_of(quota)
        start, end = window_bounds(window, period=period, now=now)
        if (start, end) not in read:
            found = reader.meter_usage(
                subscription_id=subscription.pk, environment="live", start=start, end=end
            )
            read[start, end] = _used(found)
        rows.append(_use(quota, window, start, end, read[start, end].get(quota["meter"], 0)))
    return tuple(rows)


def _used(rows: Iterable[MeterFact | MeterUsage]) -> dict[str, int]:
    return {row.meter: int(row.billed + row.counted) for row in rows}


def _use(
    quota: Mapping[str, Any], window: WindowKind, start: datetime, end: datetime, used: int
) -> QuotaUse:
    return QuotaUse(
        meter=quota["meter"],
        window=window,
        starts_at=start,
        ends_at=end,
        used=used,
        quota=int(quota["quota"]),
        limit=limit_of(quota),
        alerts_at=tuple(quota.get("alerts_at", DEFAULT_ALERTS)),
    )


def limit_of(quota: Mapping[str, Any]) -> int | None:
    """Return the units at which calls are refused; None = never."""
    units, block = int(quota["quota"]), int(quota.get("block_at_percent", DEFAULT_BLOCK_PERCENT))
    return units * block // FULL_PERCENT if block else None


def _window_of(quota: Mapping[str, Any]) -> WindowKind:
    return WindowKind(quota.get("window", WindowKind.BILLING_PERIOD))


def monthly_quotas(version: PlanVersion, meter: str) -> Iterator[tuple[int, int | None]]:
    """Yield (units, units at which calls are refused or None) of a meter's monthly quotas."""
    for quota in version.limits.get("quotas", []):
        if quota["meter"] == meter and _window_of(quota) in MONTHLY:
            yield int(quota["quota"]), limit_of(quota)


def window_bounds(
    window: WindowKind, *, period: BillingPeriod, now: datetime
) -> tuple[datetime, datetime]:
    """Return the window that holds `now`: days, hours and calendar months in UTC."""
    at = now.astimezone(UTC)
    match window:
        case WindowKind.BILLING_PERIOD:
            return period.starts_at, period.ends_at
        case WindowKind.CALENDAR_MONTH:
            return month_windows(at)[0]
        case WindowKind.DAY:
            start = at.replace(hour=0, minute=0, second=0, microsecond=0)
            return start, start + _DAY
        case WindowKind.HOUR:
            start = at.replace(minute=0, second=0, microsecond=0)
            return start, start + _HOUR


def limit_warnings(*, version: PlanVersion, used: Mapping[str, int]) -> tuple[LimitWarning, ...]:
    """Name the monthly quotas of `version` that the use of this period exceeds."""
    rows = []
    for quota in version.limits.get("quotas", []):
        units, spent = int(quota["quota"]), used.get(quota["meter"], 0)
        if _window_of(quota) in MONTHLY and spent > units:
            blocks = limit_of(quota) is not None
            rows.append(LimitWarning(quota["meter"], spent, units, blocks))
    return tuple(rows)
