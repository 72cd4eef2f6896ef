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
    capacity: int  # burst * per_us

    @classmethod
    def full(cls, charge: BucketCharge, *, now_us: int) -> "Bucket":
        level = charge.burst * charge.per_us
        return cls(level, now_us, charge.rate, charge.per_us, charge.burst, level)

    def refill(self, now_us: int) -> None:
        """Add what came since the last call; time that steps back adds nothing."""
        if now_us > self.at_us:
            level = self.level + (now_us - self.at_us) * self.rate
            self.level = min(self.capacity, level)
            self.at_us = now_us

    def take(self, units: int) -> int:
        """Take tokens and return 0; without them return the microseconds to wait, at least 1.

        More than the burst never fits: then it is the time until the bucket is full.
        """
        cost = units * self.per_us
        if cost <= self.level:
            self.level -= cost
            return 0
        return max(1, -((self.level - min(cost, self.capacity)) // self.rate))

    def to_level(self) -> Level:
        until_full_us = -((self.level - self.capacity) // self.rate)
        return Level(self.level // self.per_us, 0, until_full_us)


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
        for index, charge in enumerate(charges):
            wait_us = self._take_one(charge, now_us)
            if wait_us:
                for taken in charges[:index]:
                    self._undo(taken)
                return Refused(index, wait_us, self._levels(charges, now_us))
        return Taken(self._levels(charges, now_us), self._crossed(charges))

    def _take_one(self, charge: ChargeRequest, now_us: int) -> int:
        """Take a charge and return 0, or the microseconds until it could be taken."""
        if isinstance(charge, BucketCharge):
            return self._bucket(charge, now_us).take(charge.units)
        window = self._window(charge)
        used = window.used + charge.units
        if charge.limit is not None and used > charge.limit and charge.units:
            return max(1, charge.end_us - now_us)
        window.used = used
        return 0

    def _undo(self, charge: ChargeRequest) -> None:
        if isinstance(charge, BucketCharge):
            self._buckets[charge.key].level += charge.units * charge.per_us
        else:
            self._windows[charge.key].used -= charge.units

    def _bucket(self, charge: BucketCharge, now_us: int) -> Bucket:
        """Fetch and refill a bucket; changed terms start anew."""
        bucket = self._buckets.get(charge.key)
        if bucket is None or (
            bucket.rate != charge.rate
            or bucket.per_us != charge.per_us
            or bucket.burst != charge.burst
        ):
            bucket = self._buckets[charge.key] = Bucket.full(charge, now_us=now_us)
        bucket.refill(now_us)
        return bucket

    def _window(self, charge: WindowCharge) -> Window:
        window = self._windows.get(charge.key)
        if window is None:
            window = self._windows[charge.key] = Window(0, charge.end_us, 0)
        return window

    def _crossed(self, charges: Sequence[ChargeRequest]) -> tuple[tuple[int, int], ...]:
        """Raise the peaks, and tell which thresholds lie between."""
        crossed: list[tuple[int, int]] = []
        for index, charge in enumerate(charges):
            if isinstance(charge, BucketCharge):
                continue
            window = self._windows[charge.key]
            before, after = window.peak, window.used
            if after > before:
                window.peak = after
                if charge.alerts_at:
                    percents = crossed_percents(charge, before=before, after=after)
                    crossed += [(index, percent) for percent in percents]
        return tuple(crossed)

    def _levels(self, charges: Sequence[ChargeRequest], now_us: int) -> tuple[Level, ...]:
        return tuple([self._level(charge, now_us) for charge in charges])

    def _level(self, charge: ChargeRequest, now_us: int) -> Level:
        if isinstance(charge, BucketCharge):
            return self._bucket(charge, now_us).to_level()
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
        return Taken(self._levels(charges, now_us))

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
