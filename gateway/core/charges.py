"""What a request wants to take from its limits, and the answers of the quota port.

Values only. `core.quota` and `core.limits` build the charges from the snapshot, one port call
takes all of them or none (`architecture.md` §4.9), the outcome of the request settles them.
Times are integers in microseconds of product time since the epoch.
"""

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class BucketCharge:
    """Take `units` from a token bucket: `burst` at once, then `rate` per `per_us`, exactly.

    Buckets protect; they are not given back and need not survive a crash.
    """

    key: str  # "<entitlement>|<limit name>|<key value>"
    name: str  # in headers: "burst"
    rate: int
    per_us: int
    burst: int
    units: int = 1


@dataclass(frozen=True, slots=True)
class WindowCharge:
    """Take `units` from a quota window `[start_us, end_us)`.

    limit      refuse when used + units > limit; None = count only, never refuse
    quota      the plan's number, for headers and thresholds (limit may be above it)
    alerts_at  percents of `quota` at which a threshold event is due, ascending
    """

    key: str  # "<entitlement>|<meter>|<start_us>"
    meter: str
    start_us: int
    end_us: int
    quota: int
    limit: int | None
    units: int
    alerts_at: tuple[int, ...] = ()


ChargeRequest = BucketCharge | WindowCharge


class Level(NamedTuple):
    """How a charge stands after the call: window `used` and left, or tokens left in a bucket."""

    remaining: int  # against `limit` for windows with one, else against `quota`; >= 0
    used: int  # windows: units taken in it, this request included; buckets: 0
    reset_us: int  # windows: until end; buckets: until full again


class Taken(NamedTuple):
    """All charges were taken; `levels` are in the order of the charges."""

    levels: tuple[Level, ...]
    crossed: tuple[tuple[int, int], ...] = ()  # (index of the charge, percent) crossed right now


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing was taken; `index` names the first charge that refuses."""

    index: int
    retry_after_us: int
    levels: tuple[Level, ...]


@dataclass(frozen=True, slots=True)
class StoreDown:
    """The counters cannot be reached; nothing is known to have been taken."""

    reason: str
