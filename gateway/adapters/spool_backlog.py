"""How much of a node's spool is not shipped yet, and how old it is: figures for `/metrics`.

Shipped means acknowledged by Kafka (sidecar `shipped`), or in ClickHouse (`durable`) where the
sink reads the spool itself. Looked up beside the hot path, in a thread, every few seconds.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gateway.adapters.spool_files import (
    SHIPPED_NAME,
    DamagedSegmentError,
    StreamReader,
    durable_through,
    read_position,
    read_synced,
    segment_files,
    stream_dirs,
)
from gateway.contracts.access_log import AccessLogDecodeError, decode
from gateway.contracts.spool import Position
from gateway.core.instants import to_us


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits, over all streams of the node.

    records     events behind an fdatasync that are not shipped
    bytes       of the segments that hold them, as far as they are written
    oldest_us   when the oldest of them was admitted; None = nothing waits
    """

    records: int = 0
    bytes: int = 0
    oldest_us: int | None = None

    def __add__(self, other: "Backlog") -> "Backlog":
        oldest = [us for us in (self.oldest_us, other.oldest_us) if us is not None]
        return Backlog(
            self.records + other.records, self.bytes + other.bytes, min(oldest, default=None)
        )


def read_backlog(spool_dir: Path) -> Backlog:
    """Add up what waits in all streams; blocks, so call it from a thread."""
    total = Backlog()
    for stream_dir in stream_dirs(spool_dir):
        with suppress(FileNotFoundError):  # deleted meanwhile: nothing of it waits
            total += _stream_backlog(stream_dir)
    return total


def _stream_backlog(stream_dir: Path) -> Backlog:
    synced = read_synced(stream_dir)
    shipped = read_position(stream_dir / SHIPPED_NAME)
    through = max(durable_through(stream_dir), shipped.last_seq if shipped else 0)
    if synced is None or synced.last_seq <= through:
        return Backlog()
    return Backlog(
        records=synced.last_seq - through,
        bytes=_bytes_behind(stream_dir, synced, through=through),
        oldest_us=_admitted_us(stream_dir, after=through),
    )


def _bytes_behind(stream_dir: Path, synced: Position, *, through: int) -> int:
    files = segment_files(stream_dir)
    begins = max((first for first, _ in files if first <= through + 1), default=0)
    return sum(
        synced.offset if first == synced.segment else path.stat().st_size
        for first, path in files
        if begins <= first <= synced.segment
    )


def _admitted_us(stream_dir: Path, *, after: int) -> int | None:
    with suppress(DamagedSegmentError, AccessLogDecodeError):
        for block in StreamReader(stream_dir, after=after).read():
            line = block.payload.splitlines(keepends=True)[max(0, after + 1 - block.first_seq)]
            return to_us(decode(line).admitted_at)
    return None
