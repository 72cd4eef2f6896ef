"""What the gateway needs from outside, one Protocol per outside system.

The adapters implement these (`gateway/adapters`), the proxy and the composition root use them.
Microsecond integers are product time since the epoch unless a name says `mono` or `wall`.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.contracts.snapshot import Snapshot
from gateway.core.charges import ChargeRequest, Refused, StoreDown, Taken, WindowCharge


class Clock(Protocol):
    """Product time (wall + the snapshot's offset), forward only, and a monotonic one."""

    def now_us(self) -> int: ...

    def mono_s(self) -> float: ...

    def set_offset(self, offset_us: int) -> None: ...


class Quota(Protocol):
    """Counters behind one atomic step. Used is kept per stream, so that a crash can be settled."""

    async def take(
        self, charges: Sequence[ChargeRequest], *, now_us: int
    ) -> Taken | Refused | StoreDown:
        """Take all charges or none. Units of 0 only ask."""
        ...

    async def give_back(self, charges: Sequence[WindowCharge]) -> None:
        """Return units of a free outcome to the same windows; never raises, retries inside."""
        ...

    async def peek(self, charges: Sequence[ChargeRequest], *, now_us: int) -> Taken | StoreDown:
        """Read the levels without taking anything (`GET /me/usage`)."""
        ...

    async def close(self) -> None: ...


@dataclass(slots=True)
class Admission:
    """A request between admission and its `request` event; holds the seal's `complete_through`."""

    admitted_us: int


class Spool(Protocol):
    """One stream of events on local disk: gap-free seqs, group commit, seals.

    A line is `{"v":"v1","stream":"…","seq":N,` + `tail`; the spool gives the seq and writes the
    head, the caller encodes the rest (from `"kind":` to `}\\n`).
    """

    stream: str
    node: str

    def has_room(self) -> bool:
        """False below the low-water mark: billable routes answer 503 before the upstream."""
        ...

    def admit(self, now_us: int) -> Admission:
        """Open an admission; `admitted_us` = max(now, last `complete_through`)."""
        ...

    def abandon(self, admission: Admission) -> None:
        """Close an admission that will write no event."""
        ...

    def append(self, tail: bytes, admission: Admission | None = None) -> int:
        """Give the record its seq and buffer it for this loop turn's write.

        :raises SpoolFullError: when even the reserve is gone.
        """
        ...

    async def durable(self, seq: int) -> None:
        """Return once record `seq` is written (`process`) or behind an fdatasync (`power`).

        :raises SpoolFailedError: after a failed write or fdatasync; the process must exit.
        """
        ...

    async def seal(self, *, final: bool = False, reason: str = "") -> int: ...

    async def close(self) -> None:
        """Seal with `final`, fdatasync, release the lock."""
        ...


class SnapshotSource(Protocol):
    """Brings new snapshots; `run` calls `apply` between requests and acknowledges."""

    async def run(self, apply: Callable[[Snapshot], Awaitable[None]]) -> None: ...

    def load_last_good(self) -> Snapshot | None: ...
