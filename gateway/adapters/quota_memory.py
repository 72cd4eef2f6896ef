"""Quota counters in the gateway's own memory: the embedded mode, one worker.

Owns the port `Quota` without any server, and the exact arithmetic of token buckets. The counters
start from what `quota_checkpoint.rebuild` reads from the counters file and the spool; nothing
here writes a file, and nothing here reads a clock.

Within one process every call is a single step of the event loop, and so it is atomic.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.core.charges import (
    BucketCharge,
    ChargeRequest,
    Level,
    Refused,
    Taken,
    WindowCharge,
)

KEEP_AFTER_END_US: Final = 3_600_000_000
"""How long a window's counter outlives it: answers of requests admitted in it still come."""
_SWEEP_EVERY: Final = 10_000  # takes between two looks for counters that are over


@dataclass(frozen=True, slots=True)
class WindowUse:
    """Units used in a window that ends at `end_us`."""

    units: int
    end_us: int


@dataclass(slots=True)
class Bucket:
    """A token bucket in exact integers: `level` counts tokens times `per_us`.

    A token comes every per_us / rate microseconds, so in each microsecond `level` grows by `rate`,
    and taking n tokens costs n * per_us. No fraction is ever rounded.
    """

    level: int
    at_us: int
    rate: int
    per_us: int
    burst: int

    @classmethod
    def full(cls, charge: BucketCharge, *, now_us: int) -> "Bucket":
        level = charge.burst * charge.per_us
        return cls(level, now_us, charge.rate, charge.per_us, charge.burst)

    @property
    def capacity(self) -> int:
        return self.burst * self.per_us

    def refill(self, now_us: int) -> None:
        """Add what came since the last call; time that steps back adds nothing."""
        if now_us > self.at_us:
            self.level = min(self.capacity, self.level + (now_us - self.at_us) * self.rate)
            self.at_us = now_us

    def wait_us(self, units: int) -> int:
        """Microseconds until `units` tokens are there; beyond `burst`: until it is full."""
        missing = min(units * self.per_us, self.capacity) - self.level
        return max(0, -(-missing // self.rate))

    def to_level(self) -> Level:
        return Level(self.level // self.per_us, 0, self.wait_us(self.burst))


@dataclass(slots=True)
class Window:
    """A window's counter. `peak` is the most it ever showed: a threshold is crossed there once."""

    used: int
    end_us: int
    peak: int


def window_level(charge: WindowCharge, *, used: int, now_us: int) -> Level:
    """Say how a window stands, for headers."""
    ceiling = charge.quota if charge.limit is None else charge.limit
    return Level(max(0, ceiling - used), used, max(0, charge.end_us - now_us))


def crossed_percents(charge: WindowCharge, *, before: int, after: int) -> list[int]:
    """Tell which percents of the quota lie in (before, after]; exact, in integers.

    >>> charge = WindowCharge("k", "requests", 0, 9, 10, limit=10, units=1, alerts_at=(80, 95))
    >>> [crossed_percents(charge, before=n - 1, after=n) for n in (8, 9, 10)]
    [[80], [], [95]]
    """
    return [p for p in charge.alerts_at if before * 100 < charge.quota * p <= after * 100]


class MemoryQuota:
    """The port `Quota` in one process."""

    def __init__(self) -> None:
        self._windows: dict[str, Window] = {}
        self._buckets: dict[str, Bucket] = {}
        self._takes = 0

    def restore(self, streams: Iterable[Mapping[str, WindowUse]]) -> None:
        """Start from what streams have used; thresholds below it count as crossed already."""
        for uses in streams:
            for key, use in uses.items():
                window = self._windows.setdefault(key, Window(0, use.end_us, 0))
                window.used += use.units
                window.peak = max(window.peak, window.used)

    async def take(self, charges: Sequence[ChargeRequest], *, now_us: int) -> Taken | Refused:
        """Take all charges or none; units of 0 only ask."""
        self._sweep(now_us)
        asked: dict[str, int] = {}
        refusal: tuple[int, int] | None = None
        for index, charge in enumerate(charges):
            asked[charge.key] = asked.get(charge.key, 0) + charge.units
            wait_us = self._wait_us(charge, units=asked[charge.key], now_us=now_us)
            if wait_us and refusal is None:
                refusal = index, wait_us
        if refusal is not None:
            return Refused(*refusal, self._levels(charges, now_us=now_us))
        crossed = [
            (index, percent)
            for index, charge in enumerate(charges)
            for percent in self._add(charge)
        ]
        return Taken(self._levels(charges, now_us=now_us), tuple(crossed))

    def _wait_us(self, charge: ChargeRequest, *, units: int, now_us: int) -> int:
        """Microseconds until the charge could be taken; 0 = now."""
        if isinstance(charge, BucketCharge):
            bucket = self._bucket(charge, now_us=now_us)
            fits = units <= bucket.burst and bucket.wait_us(units) == 0
            return 0 if fits or units == 0 else max(1, bucket.wait_us(units))
        used = self._windows[charge.key].used if charge.key in self._windows else 0
        if charge.limit is None or charge.units == 0 or used + units <= charge.limit:
            return 0
        return max(1, charge.end_us - now_us)

    def _bucket(self, charge: BucketCharge, *, now_us: int) -> Bucket:
        """Fetch and refill a bucket; changed terms start anew (they have a key of their own)."""
        bucket = self._buckets.get(charge.key)
        terms = (charge.rate, charge.per_us, charge.burst)
        if bucket is None or (bucket.rate, bucket.per_us, bucket.burst) != terms:
            bucket = self._buckets[charge.key] = Bucket.full(charge, now_us=now_us)
        bucket.refill(now_us)
        return bucket

    def _add(self, charge: ChargeRequest) -> list[int]:
        if isinstance(charge, BucketCharge):
            self._buckets[charge.key].level -= charge.units * charge.per_us
            return []
        if charge.units == 0:
            return []
        window = self._windows.setdefault(charge.key, Window(0, charge.end_us, 0))
        window.used += charge.units
        before, window.peak = window.peak, max(window.peak, window.used)
        return crossed_percents(charge, before=before, after=window.peak)

    def _levels(self, charges: Sequence[ChargeRequest], *, now_us: int) -> tuple[Level, ...]:
        return tuple(self._level(charge, now_us=now_us) for charge in charges)

    def _level(self, charge: ChargeRequest, *, now_us: int) -> Level:
        if isinstance(charge, BucketCharge):
            return self._bucket(charge, now_us=now_us).to_level()
        window = self._windows.get(charge.key)
        return window_level(charge, used=window.used if window else 0, now_us=now_us)

    async def give_back(self, charges: Sequence[WindowCharge]) -> None:
        """Return units to the same windows; what is over by then needs none."""
        for charge in charges:
            window = self._windows.get(charge.key)
            if window is not None:
                window.used = max(0, window.used - charge.units)

    async def peek(self, charges: Sequence[ChargeRequest], *, now_us: int) -> Taken:
        """Read the levels without taking anything."""
        return Taken(self._levels(charges, now_us=now_us))

    async def close(self) -> None:
        """Nothing to close: what was used is in the spool."""

    def _sweep(self, now_us: int) -> None:
        """Forget windows that are over and buckets that are full, now and then."""
        self._takes += 1
        if self._takes % _SWEEP_EVERY:
            return
        oldest = now_us - KEEP_AFTER_END_US
        self._windows = {k: w for k, w in self._windows.items() if w.end_us > oldest}
        for key, bucket in list(self._buckets.items()):
            bucket.refill(now_us)
            if bucket.level == bucket.capacity:
                del self._buckets[key]
