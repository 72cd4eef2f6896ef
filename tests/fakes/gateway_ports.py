"""In-memory stand-ins for the gateway's ports: a spool that keeps lines, exact counters, a clock.

They follow the rules of `gateway/ports.py` (gap-free seqs, all charges or none, forward-only
time), so that the proxy is tested against behaviour and not against a script.
"""

from collections import defaultdict
from collections.abc import Sequence
from fractions import Fraction

from gateway.contracts.access_log import AccessLogEvent, decode
from gateway.core.charges import (
    BucketCharge,
    ChargeRequest,
    Level,
    Refused,
    StoreDown,
    Taken,
    WindowCharge,
)
from gateway.errors import SpoolFailedError, SpoolFullError
from gateway.ports import Admission


class FakeClock:
    """Product time that moves when told to; monotonic time follows it."""

    def __init__(self, now_us: int) -> None:
        self.us = now_us
        self.offset_us = 0

    def now_us(self) -> int:
        return self.us + self.offset_us

    def mono_s(self) -> float:
        return self.us / 1_000_000

    def set_offset(self, offset_us: int) -> None:
        self.offset_us = offset_us


class FakeSpool:
    """Keeps the lines; can be full, or broken."""

    def __init__(self, *, node: str = "node-1") -> None:
        self.node = node
        self.stream = f"{node}.boot.0"
        self.lines: list[bytes] = []
        self.open: list[Admission] = []
        self.room = True
        self.full = False
        self.broken = False
        self.seals: list[tuple[bool, str]] = []
        self.abandoned = 0

    def has_room(self) -> bool:
        return self.room

    def admit(self, now_us: int) -> Admission:
        admission = Admission(now_us)
        self.open.append(admission)
        return admission

    def _close(self, admission: Admission) -> None:
        self.open = [held for held in self.open if held is not admission]

    def abandon(self, admission: Admission) -> None:
        self.abandoned += 1
        self._close(admission)

    def append(self, tail: bytes, admission: Admission | None = None) -> int:
        if self.full:
            raise SpoolFullError("full")
        seq = len(self.lines) + 1
        head = f'{{"v":"v1","stream":"{self.stream}","seq":{seq},'.encode()
        self.lines.append(head + tail)
        if admission is not None:
            self._close(admission)
        return seq

    async def durable(self, seq: int) -> None:
        if self.broken:
            raise SpoolFailedError("the disk is gone")
        assert seq <= len(self.lines)

    async def seal(self, *, final: bool = False, reason: str = "") -> int:
        if self.full and not final:
            raise SpoolFullError("full")
        self.seals.append((final, reason))
        return len(self.lines)

    async def close(self) -> None:
        await self.seal(final=True, reason="closed")

    @property
    def events(self) -> list[AccessLogEvent]:
        return [decode(line) for line in self.lines]


class FakeQuota:
    """Exact windows and buckets in dicts; can be down."""

    def __init__(self) -> None:
        self.used: dict[str, int] = defaultdict(int)
        self.buckets: dict[str, tuple[Fraction, int]] = {}
        self.down = False

    async def take(
        self, charges: Sequence[ChargeRequest], *, now_us: int
    ) -> Taken | Refused | StoreDown:
        if self.down:
            return StoreDown("down")
        levels = tuple(self._level(charge, now_us, taken=True) for charge in charges)
        for index, charge in enumerate(charges):
            wait = self._wait(charge, now_us)
            if wait is not None:
                refused = tuple(self._level(c, now_us, taken=False) for c in charges)
                return Refused(index, wait, refused)
        crossed = []
        for index, charge in enumerate(charges):
            if isinstance(charge, BucketCharge):
                self.buckets[charge.key] = (self._tokens(charge, now_us) - charge.units, now_us)
                continue
            before = self.used[charge.key]
            self.used[charge.key] = before + charge.units
            crossed += [
                (index, percent)
                for percent in charge.alerts_at
                if before * 100 < charge.quota * percent <= self.used[charge.key] * 100
            ]
        return Taken(levels, tuple(crossed))

    def _tokens(self, charge: BucketCharge, now_us: int) -> Fraction:
        tokens, since_us = self.buckets.get(charge.key, (Fraction(charge.burst), now_us))
        grown = tokens + Fraction((now_us - since_us) * charge.rate, charge.per_us)
        return min(Fraction(charge.burst), grown)

    def _wait(self, charge: ChargeRequest, now_us: int) -> int | None:
        if isinstance(charge, BucketCharge):
            missing = charge.units - self._tokens(charge, now_us)
            return int(missing * charge.per_us / charge.rate) if missing > 0 else None
        over = charge.limit is not None and self.used[charge.key] + charge.units > charge.limit
        return charge.end_us - now_us if over else None

    def _level(self, charge: ChargeRequest, now_us: int, *, taken: bool) -> Level:
        units = charge.units if taken else 0
        if isinstance(charge, BucketCharge):
            left = self._tokens(charge, now_us) - units
            full_in = (charge.burst - left) * charge.per_us / charge.rate
            return Level(max(0, int(left)), 0, int(full_in))
        used = self.used[charge.key] + units
        bound = charge.quota if charge.limit is None else charge.limit
        return Level(max(0, bound - used), used, charge.end_us - now_us)

    async def give_back(self, charges: Sequence[WindowCharge]) -> None:
        for charge in charges:
            self.used[charge.key] -= charge.units

    async def peek(self, charges: Sequence[ChargeRequest], *, now_us: int) -> Taken | StoreDown:
        if self.down:
            return StoreDown("down")
        return Taken(tuple(self._level(charge, now_us, taken=False) for charge in charges))

    async def close(self) -> None:
        return None
