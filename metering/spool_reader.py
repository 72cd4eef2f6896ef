"""Reads one stream's spool folder: segments that grow, up to the last fdatasync, in seq order.

Nothing is skipped in silence. Behind the `synced` mark every byte was written whole, so what does
not read there is damage: the seqs that it held come back as `Lost` (found out from the next valid
block, segment or the mark), and reading goes on behind it. What lies ahead of the mark may be torn
and is not touched.
"""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import crc32c

from gateway.contracts.spool import (
    BLOCK_MAGIC,
    DURABLE_NAME,
    SEGMENT_SUFFIX,
    SYNCED_NAME,
    Block,
    Position,
    SpoolFormatError,
    decode_blocks,
    decode_position,
    decode_segment_header,
    encode_position,
    segment_name,
)
from metering.core.rows import BlockDamagedError, Lines, Lost, read_block

CHUNK_BYTES: Final = 2 * 1024 * 1024
"""Well above the largest block (`MAX_BLOCK_BYTES`, or one oversized line)."""
_LOST_BYTES_KEPT: Final = 4096
_SIDECAR_BYTES_MAX: Final = 256

log = logging.getLogger("tollway.sink")


def read_sidecar(path: Path) -> Position | None:
    """Read a sidecar; None when it is not there yet, or torn just now."""
    try:
        with path.open("rb") as file:
            return decode_position(file.read(_SIDECAR_BYTES_MAX), crc=crc32c.crc32c)
    except (FileNotFoundError, SpoolFormatError):
        return None


def publish_durable(folder: Path, position: Position) -> None:
    """Say how far ClickHouse has the stream durably; the owner of the spool deletes behind it."""
    fd = os.open(folder / DURABLE_NAME, os.O_CREAT | os.O_WRONLY, 0o640)
    try:
        os.pwrite(fd, encode_position(position, crc=crc32c.crc32c), 0)
    finally:
        os.close(fd)


class StreamReader:
    """Reads a stream from `next_seq` on; keeps its place between calls."""

    def __init__(self, folder: Path, *, next_seq: int) -> None:
        self.stream = folder.name
        self.folder = folder
        self.next_seq = next_seq
        self.stuck = False  # the next seq is in no segment: it was deleted, or never written
        self._segment = 0  # first seq of the segment being read; 0 = not found yet
        self._offset = 0
        self._damaged = b""  # the first bytes of what did not read, until its seqs are known

    @property
    def position(self) -> Position:
        """The place behind the last line that was read."""
        return Position(self._segment, self._offset, self.next_seq - 1)

    def read(self, *, bytes_max: int) -> list[Lines | Lost]:
        """Return what is new and synced, about `bytes_max` of it at most."""
        parts: list[Lines | Lost] = []
        size = 0
        for part in self._parts():
            parts.append(part)
            self.next_seq = part.last_seq + 1
            size += part.size if isinstance(part, Lines) else len(part.raw)
            if size >= bytes_max:
                break
        return parts

    def _parts(self) -> Iterator[Lines | Lost]:
        synced = read_sidecar(self.folder / SYNCED_NAME)
        if synced is None or synced.last_seq < self.next_seq:
            return
        try:
            while self._find_segment(synced):
                yield from self._segment_parts(synced)
                if not self._leave_segment(synced):
                    yield from self._missing(synced.last_seq)
                    return
                yield from self._missing(self._segment - 1)
        except FileNotFoundError:
            self._segment = self._offset = 0  # deleted under us: look again next time

    def _starts(self) -> list[int]:
        names = (path.name for path in self.folder.glob(f"*{SEGMENT_SUFFIX}"))
        return sorted(int(name.removesuffix(SEGMENT_SUFFIX)) for name in names)

    def _find_segment(self, synced: Position) -> bool:
        """Stand in a segment, at first the one that holds the next seq."""
        if self._segment:
            return True
        held = [start for start in self._starts() if start <= min(self.next_seq, synced.segment)]
        if not held and not self.stuck:
            log.error("%s: seq %d is not in the spool any more", self.stream, self.next_seq)
        self.stuck = not held
        self._segment, self._offset = (held[-1], 0) if held else (0, 0)
        return bool(held)

    def _leave_segment(self, synced: Position) -> bool:
        """Go on to the next segment; False when this is the last one that is synced."""
        later = [start for start in self._starts() if self._segment < start <= synced.segment]
        if later:
            self._segment, self._offset = later[0], 0
        return bool(later)

    def _missing(self, last_seq: int) -> Iterator[Lost]:
        """Give up the seqs up to `last_seq` that should have been read by here."""
        raw, self._damaged = self._damaged, b""
        if self.next_seq <= last_seq:
            reason = "spool is damaged here" if raw else "missing in the spool"
            yield Lost(self.stream, self.next_seq, last_seq, reason, raw)

    def _segment_parts(self, synced: Position) -> Iterator[Lines | Lost]:
        """Read on in this segment to its end, or to the mark.

        The offset moves before lines are handed out and after what is lost before them, so that
        the caller may stop at any part.
        """
        with (self.folder / segment_name(self._segment)).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            end = min(synced.offset, size) if self._segment == synced.segment else size
            while self._offset < end:
                base, chunk = self._offset, min(CHUNK_BYTES, end - self._offset)
                data = os.pread(file.fileno(), chunk, base)
                start = self._header_size(data) if base == 0 else 0
                self._offset = base + start
                for block in decode_blocks(data, offset=start, crc=crc32c.crc32c):
                    yield from self._missing(block.first_seq - 1)
                    self._offset = base + block.end
                    yield from self._lines(block)
                if self._offset == base:
                    self._resync(os.pread(file.fileno(), end - base, base))

    def _header_size(self, data: bytes) -> int:
        try:
            return decode_segment_header(data, crc=crc32c.crc32c).size
        except SpoolFormatError:
            return 0

    def _lines(self, block: Block) -> Iterator[Lines | Lost]:
        if block.last_seq < self.next_seq:
            return
        try:
            lines = read_block(
                stream=self.stream,
                first_seq=block.first_seq,
                count=block.count,
                payload=block.payload,
            )
        except BlockDamagedError as error:
            raw = block.payload[:_LOST_BYTES_KEPT]
            yield Lost(self.stream, self.next_seq, block.last_seq, str(error), raw)
            return
        yield lines.since(self.next_seq)

    def _resync(self, rest: bytes) -> None:
        """Step over damage to the next valid block, or to the end when none follows."""
        self._damaged = self._damaged or rest[:_LOST_BYTES_KEPT]
        log.error("%s: segment %d is damaged at %d", self.stream, self._segment, self._offset)
        place = rest.find(BLOCK_MAGIC, 1)
        while place >= 0 and not _valid_block(rest, place):
            place = rest.find(BLOCK_MAGIC, place + 1)
        self._offset += place if place >= 0 else len(rest)


def _valid_block(data: bytes, place: int) -> bool:
    return next(decode_blocks(data, offset=place, crc=crc32c.crc32c), None) is not None
