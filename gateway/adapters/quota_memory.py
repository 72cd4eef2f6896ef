"""Counters in one worker's memory: exact, taken all or none, rebuilt from the spool at boot.

Every call runs to its end without giving up the event loop, so no lock is needed. Buckets are
kept in integer units of token x `per_us`, so that refill is exact.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.core.charges import (
    BucketCharge,
    ChargeRequest,
    Level,
    Refused,
    StoreDown,
    Taken,
    WindowCharge,
)

KEEP_AFTER_END_US: Final = 3_600_000_000
_SWEEP_EVERY: Final = 10_000


@dataclass(slots=True)
class Window:
    """Units taken in a window; `peak` remembers which thresholds have fired."""

    used: int
    peak: int
    end_us: int


@dataclass(slots=True)
class Bucket:
    """`level` = tokens x per_us, at `at_us`."""

    level: int
    at_us: int


def _ceil(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)


class MemoryQuota:
    """`ports.Quota` for an installation with one worker."""

    def __init__(self) -> None:
        self._windows: dict[str, Window] = {}
        self._buckets: dict[str, Bucket] = {}
        self._takes = 0

    def restore(self, counts: Mapping[str, tuple[int, int]]) -> None:
        """Set windows to what the spool says: key -> (used, end_us). Before the first take."""
        for key, (used, end_us) in counts.items():
            self._windows[key] = Window(used, used, end_us)

    async def take(
        self, charges: Sequence[ChargeRequest], *, now_us: int
    ) -> Taken | Refused | StoreDown:
        self._sweep_sometimes(now_us)
        for index, charge in enumerate(charges):
            wait_us = self._wait_us(charge, now_us)
            if wait_us:
                return Refused(index, wait_us, self._levels(charges, now_us))
        crossed: list[tuple[int, int]] = []
        for index, charge in enumerate(charges):
            if isinstance(charge, BucketCharge):
                self._bucket(charge, now_us).level -= charge.units * charge.per_us
            else:
                crossed += [(index, percent) for percent in self._add(charge)]
        return Taken(self._levels(charges, now_us), tuple(crossed))

    async def give_back(self, charges: Sequence[WindowCharge]) -> None:
        for charge in charges:
            window = self._windows.get(charge.key)
            if window is not None:
                window.used = max(0, window.used - charge.units)

    async def peek(self, charges: Sequence[ChargeRequest], *, now_us: int) -> Taken | StoreDown:
        return Taken(self._levels(charges, now_us))

    async def close(self) -> None:
        """Nothing to close: the spool holds what counts."""

    def _wait_us(self, charge: ChargeRequest, now_us: int) -> int:
        """Return 0 when the charge fits, else how long until it may."""
        if isinstance(charge, BucketCharge):
            missing = charge.units * charge.per_us - self._bucket(charge, now_us).level
            return max(0, _ceil(missing, charge.rate))
        if charge.limit is None or not charge.units:
            return 0
        window = self._windows.get(charge.key)
        used = window.used if window is not None else 0
        return max(1, charge.end_us - now_us) if used + charge.units > charge.limit else 0

    def _bucket(self, charge: BucketCharge, now_us: int) -> Bucket:
        full = charge.burst * charge.per_us
        bucket = self._buckets.get(charge.key)
        if bucket is None:
            bucket = self._buckets[charge.key] = Bucket(full, now_us)
        elapsed = max(0, now_us - bucket.at_us)
        bucket.level = min(full, bucket.level + elapsed * charge.rate)
        bucket.at_us = max(bucket.at_us, now_us)
        return bucket

    def _add(self, charge: WindowCharge) -> list[int]:
        """Take a window's units and return the percents crossed right now, each once a window."""
        window = self._windows.get(charge.key)
        if window is None:
            window = self._windows[charge.key] = Window(0, 0, charge.end_us)
        window.used += charge.units
        before, window.peak = window.peak, max(window.peak, window.used)
        return [
            p for p in charge.alerts_at if before < _ceil(charge.quota * p, 100) <= window.peak
        ]

    def _levels(self, charges: Sequence[ChargeRequest], now_us: int) -> tuple[Level, ...]:
        return tuple(self._level(charge, now_us) for charge in charges)

    def _level(self, charge: ChargeRequest, now_us: int) -> Level:
        if isinstance(charge, BucketCharge):
            level = self._bucket(charge, now_us).level
            full = charge.burst * charge.per_us
            return Level(level // charge.per_us, 0, _ceil(full - level, charge.rate))
        window = self._windows.get(charge.key)
        used = window.used if window is not None else 0
        bound = charge.quota if charge.limit is None else charge.limit
        return Level(max(0, bound - used), used, max(0, charge.end_us - now_us))

    def _sweep_sometimes(self, now_us: int) -> None:
        """Drop windows that ended long ago and buckets that are full again."""
        self._takes += 1
        if self._takes % _SWEEP_EVERY:
            return
        self._windows = {
            key: window
            for key, window in self._windows.items()
            if window.end_us + KEEP_AFTER_END_US > now_us
        }
        self._buckets = {
            key: bucket
            for key, bucket in self._buckets.items()
            if bucket.at_us + KEEP_AFTER_END_US > now_us
        }
