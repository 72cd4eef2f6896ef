"""One stream on its way to Kafka: which blocks are next, what was acknowledged, when to repeat.

Knows the spool and no broker. The sidecar `shipped` says how far Kafka has acknowledged; the
sidecar `durable`, kept here for the spool's owner, how far ClickHouse has the stream.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.adapters.spool_files import (
    SHIPPED_NAME,
    DamagedSegmentError,
    StreamReader,
    crc,
    durable_through,
    read_position,
    segment_files,
    write_position,
)
from gateway.contracts.spool import (
    DURABLE_NAME,
    MAX_BLOCK_BYTES,
    MAX_BLOCK_EVENTS,
    Block,
    Position,
)

log = logging.getLogger(__name__)

_MAX_PATIENCE: Final = 16  # times the first wait


@dataclass(frozen=True, slots=True)
class Shipment:
    """One Kafka message: consecutive lines of one stream, as they are in the spool."""

    first_seq: int
    count: int
    payload: bytes

    @property
    def last_seq(self) -> int:
        return self.first_seq + self.count - 1

    def headers(self) -> list[tuple[str, bytes]]:
        """Describe the payload, in ASCII decimals.

        >>> Shipment(5, 2, b"{}\\n{}\\n").headers()[:3]
        [('first_seq', b'5'), ('last_seq', b'6'), ('count', b'2')]
        """
        values = {
            "first_seq": self.first_seq,
            "last_seq": self.last_seq,
            "count": self.count,
            "crc32c": crc(self.payload),
        }
        return [(name, b"%d" % value) for name, value in values.items()]


def build_shipments(blocks: Iterable[Block]) -> Iterator[Shipment]:
    """Join small blocks up to 1,000 events or 256 KiB; blocks are never split."""
    first_seq, count, payloads, size = 0, 0, list[bytes](), 0
    for block in blocks:
        fits = (
            count + block.count <= MAX_BLOCK_EVENTS
            and size + len(block.payload) <= MAX_BLOCK_BYTES
        )
        if payloads and not fits:
            yield Shipment(first_seq, count, b"".join(payloads))
            count, payloads, size = 0, [], 0
        if not payloads:
            first_seq = block.first_seq
        count += block.count
        payloads.append(block.payload)
        size += len(block.payload)
    if payloads:
        yield Shipment(first_seq, count, b"".join(payloads))


class ShippedStream:
    """The way of one stream; times are monotonic seconds."""

    def __init__(self, stream_dir: Path, *, mono_s: float, patience_s: float) -> None:
        self.name = stream_dir.name
        self.key = self.name.encode()
        self.damaged = False
        shipped = read_position(stream_dir / SHIPPED_NAME)
        self._dir = stream_dir
        self._durable = durable_through(stream_dir)
        self._shipped = max(self._durable, shipped.last_seq if shipped else 0)
        self._saved = self._shipped
        self._reader = StreamReader(stream_dir, after=self._shipped)
        self._first_patience_s = self._patience_s = patience_s
        self._moved_s = mono_s

    def next_shipments(self) -> list[Shipment]:
        """Read on; empty when everything synced is on its way, or what follows is damaged."""
        if self.damaged:
            return []
        try:
            return list(build_shipments(self._reader.read()))
        except DamagedSegmentError as error:
            self.damaged = True
            log.critical("shipper: %s; the gateway's next boot repairs it", error)
            return []

    def acknowledged(self, shipment: Shipment) -> None:
        """Kafka has it, and everything of this stream before it."""
        self._shipped = max(self._shipped, shipment.last_seq)

    def rewind(self) -> None:
        """Read again from what was acknowledged: a send failed."""
        self._reader = StreamReader(self._dir, after=self._shipped)

    def save(self) -> None:
        """Write the checkpoint, if it moved and the stream is still there."""
        if self._shipped > self._saved and self._dir.exists():
            self._write(SHIPPED_NAME, self._shipped)
            self._saved = self._shipped

    def learn_durable(self, seq: int, *, mono_s: float) -> None:
        """ClickHouse has the stream through `seq`: tell the spool's owner."""
        if seq > self._durable and self._dir.exists():
            self._write(DURABLE_NAME, seq)
            self._durable = seq
            self._moved_s = mono_s
            self._patience_s = self._first_patience_s

    def repeat_if_stalled(self, mono_s: float) -> bool:
        """Go back to what is durable when that stands still; the wait doubles each time.

        Where damage keeps it, look again: the gateway may have repaired it meanwhile.
        """
        if self.damaged:
            if mono_s - self._moved_s >= self._first_patience_s:
                self.damaged = False
                self._moved_s = mono_s
                self.rewind()
            return False
        if self._shipped <= self._durable:
            self._moved_s = mono_s
            return False
        if mono_s - self._moved_s < self._patience_s:
            return False
        log.warning("shipper: %s is durable through %d only, sent again", self.name, self._durable)
        self._reader = StreamReader(self._dir, after=self._durable)
        self._moved_s = mono_s
        self._patience_s = min(2 * self._patience_s, _MAX_PATIENCE * self._first_patience_s)
        return True

    def _write(self, sidecar: str, seq: int) -> None:
        starts = [first for first, _ in segment_files(self._dir) if first <= seq]
        write_position(self._dir / sidecar, Position(max(starts, default=0), 0, seq))
