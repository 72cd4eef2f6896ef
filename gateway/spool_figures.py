"""What a worker says of its spool on `/metrics`; the first worker tells the node's backlog."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from gateway.adapters.spool import FileSpool
from gateway.adapters.spool_backlog import Backlog, read_backlog
from gateway.metrics import Figure
from gateway.ports import Clock


@dataclass(slots=True)
class NodeBacklog:
    """The backlog as it was last looked up; ages go on until the next look."""

    spool_dir: Path
    clock: Clock
    found: Backlog = field(default_factory=Backlog)

    def look(self) -> None:
        """Look it up again; blocks, so call it from a thread."""
        self.found = read_backlog(self.spool_dir)

    def age_s(self) -> float:
        oldest_us = self.found.oldest_us
        return 0.0 if oldest_us is None else max(0, self.clock.now_us() - oldest_us) / 1_000_000

    def gauges(self) -> dict[str, Figure]:
        return {
            "tollway_spool_unshipped_records": (
                "Events of this node that wait for Kafka or the sink",
                lambda: float(self.found.records),
            ),
            "tollway_spool_unshipped_bytes": (
                "Bytes of the segments that hold them", lambda: float(self.found.bytes)
            ),
            "tollway_spool_unshipped_age_seconds": (
                "Since the oldest of them was admitted", self.age_s
            ),
        }  # fmt: skip


def spool_gauges(spool: FileSpool) -> dict[str, Figure]:
    return {
        "tollway_spool_unsynced_seconds": (
            "Since the oldest write that waits for its fdatasync", lambda: spool.unsynced_s
        )
    }  # fmt: skip


def spool_counters(spool: FileSpool) -> dict[str, Figure]:
    """Name the running sums; records per write is the size of a group."""

    def of(name: str) -> Callable[[], float]:
        return lambda: float(getattr(spool.figures, name))

    return {
        "tollway_spool_records": ("Events written", of("records")),
        "tollway_spool_bytes": ("Bytes written", of("bytes")),
        "tollway_spool_writes": ("Groups written", of("writes")),
        "tollway_spool_syncs": ("Times that a group was put behind an fdatasync", of("syncs")),
        "tollway_spool_full": ("Times that the last room was used up", of("full")),
    }
