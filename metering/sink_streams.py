"""What the Kafka sink decides, without Kafka: which lines come next in their streams, what waits,
and the note that an offset's metadata carries.
"""

import json
from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import crc32c

from metering import sink_metrics
from metering.core.rows import (
    BlockDamagedError,
    Lines,
    Range,
    merge,
    ranges,
    ranges_from_json,
    ranges_to_json,
    read_block,
)

METADATA_BYTES_MAX: Final = 4000
"""Below the broker's `offset.metadata.max.bytes` (4,096)."""
WAITING_BYTES_MAX: Final = 32 * 1024 * 1024

Partition = Hashable
"""A partition of the topic, whatever the client calls it."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """Lines with the place of the message that brought them."""

    partition: Partition
    offset: int
    lines: Lines


@dataclass(slots=True)
class Streams:
    """Which seq each stream goes on with, and what waits beyond a gap.

    next_seqs   None until the prefix was read from ClickHouse
    """

    next_seqs: dict[str, int] = field(default_factory=dict)
    waiting: dict[str, dict[int, Arrived]] = field(default_factory=dict)
    waiting_bytes: int = 0

    def accept(self, arrived: Arrived) -> list[Arrived]:
        """Return what may be inserted now that this came: itself, and what waited for it."""
        stream = arrived.lines.stream
        if arrived.lines.first_seq > self.next_seqs[stream]:
            self._wait(arrived)
            return []
        accepted = []
        next_one: Arrived | None = arrived
        while next_one is not None:
            lines = next_one.lines.since(self.next_seqs[stream])
            sink_metrics.COVERED.inc(len(next_one.lines.lines) - len(lines.lines))
            if lines.lines:
                accepted.append(Arrived(next_one.partition, next_one.offset, lines))
                self.next_seqs[stream] = lines.last_seq + 1
            next_one = self._fitting(stream)
        return accepted

    def forget(self, *, keep: Collection[Partition]) -> None:
        """Forget how far streams are (others may have moved them on), and what waits elsewhere."""
        self.next_seqs.clear()
        for held in self.waiting.values():
            for first in [f for f, arrived in held.items() if arrived.partition not in keep]:
                self._count(-held.pop(first).lines.size)

    def _wait(self, arrived: Arrived) -> None:
        held = self.waiting.setdefault(arrived.lines.stream, {})
        if arrived.lines.first_seq in held:
            return
        if self.waiting_bytes + arrived.lines.size > WAITING_BYTES_MAX:
            sink_metrics.DROPPED.inc(len(arrived.lines.lines))
            return
        held[arrived.lines.first_seq] = arrived
        self._count(arrived.lines.size)

    def _fitting(self, stream: str) -> Arrived | None:
        held = self.waiting.get(stream, {})
        first = min(held, default=None)
        if first is None or first > self.next_seqs[stream]:
            return None
        arrived = held.pop(first)
        self._count(-arrived.lines.size)
        return arrived

    def _count(self, size: int) -> None:
        self.waiting_bytes += size
        sink_metrics.WAITING.set(self.waiting_bytes)


@dataclass(frozen=True, slots=True)
class Noted:
    """What a commit's metadata says is about to be inserted: ranges, from messages at offsets."""

    first_offset: int
    last_offset: int
    ranges: tuple[Range, ...]

    def encode(self) -> str:
        value = [self.first_offset, self.last_offset, ranges_to_json(self.ranges)]
        return json.dumps(value, separators=(",", ":"))

    @classmethod
    def decode(cls, text: str) -> "Noted":
        first, last, noted = json.loads(text)
        return cls(first, last, ranges_from_json(noted))


def read_message(message: Any) -> Lines:
    """Check a message against its headers and cut it into lines.

    :raises BlockDamagedError: when it is not the whole block it says it is.
    """
    headers = dict(message.headers)
    try:
        numbers = {
            name: int(headers[name]) for name in ("first_seq", "last_seq", "count", "crc32c")
        }
        stream = message.key.decode()
    except (KeyError, ValueError, AttributeError) as error:
        msg = f"headers are missing or no numbers: {error}"
        raise BlockDamagedError(msg) from error
    value = message.value or b""  # a tombstone has none
    if crc32c.crc32c(value) != numbers["crc32c"]:
        raise BlockDamagedError("checksum does not fit")
    lines = read_block(
        stream=stream,
        first_seq=numbers["first_seq"],
        count=numbers["count"],
        payload=value,
    )
    if lines.last_seq != numbers["last_seq"]:
        raise BlockDamagedError("last_seq and count do not fit")
    return lines


def split_batch(accepted: Sequence[Arrived]) -> list[list[Arrived]]:
    """Cut a batch so that the note of each part fits into an offset's metadata."""
    parts: list[list[Arrived]] = []
    for arrived in accepted:
        tried = [*parts[-1], arrived] if parts else [arrived]
        if parts and len(note_of(tried).encode().encode()) <= METADATA_BYTES_MAX:
            parts[-1].append(arrived)
        else:
            parts.append([arrived])
    return parts


def in_order(accepted: Iterable[Arrived]) -> list[Lines]:
    """Put each stream's lines behind each other, so that its ranges join up."""
    whole = merge(
        arrived.lines
        for arrived in sorted(accepted, key=lambda a: (a.lines.stream, a.lines.first_seq))
    )
    return [part for part in whole if isinstance(part, Lines)]


def note_of(accepted: Sequence[Arrived]) -> Noted:
    offsets = [arrived.offset for arrived in accepted]
    return Noted(min(offsets), max(offsets), ranges(in_order(accepted)))
