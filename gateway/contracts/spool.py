"""Framing of the spool's segment files, as pure functions.

A spool directory holds one folder per stream, a stream's folder holds segment files named by the
first seq in them (`segment_name`). A segment is a header, then blocks; a block is what one group
commit wrote: whole lines (NDJSON) of consecutive seqs. The checksum function (CRC32C) is passed
in, so that this module needs nothing but the standard library. File I/O stays with the callers:
the gateway writes, the shipper and the embedded sink read.

Also here: the small sidecar files beside the segments (`synced`, `durable`), because two processes
read them.
"""

import hashlib
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

Checksum = Callable[[bytes], int]

SEGMENT_MAGIC: Final = b"TWSEG1\r\n"
BLOCK_MAGIC: Final = b"TWBK"
SEGMENT_SUFFIX: Final = ".seg"
SYNCED_NAME: Final = "synced"
"""Sidecar: how far the stream is behind an fdatasync; readers read only up to here."""
DURABLE_NAME: Final = "durable"
"""Sidecar: the seq through which the sink has the stream durably in ClickHouse."""
MAX_BLOCK_EVENTS: Final = 1000
MAX_BLOCK_BYTES: Final = 256 * 1024
HASH_BYTES: Final = 32
ZERO_HASH: Final = bytes(HASH_BYTES)
"""The running line hash before the first line."""

_SEGMENT: Final = struct.Struct("<8sHQ32s")  # magic, stream name length, first seq, hash before it
_BLOCK: Final = struct.Struct("<4sIQI")  # magic, payload bytes, first seq, events
_CRC: Final = struct.Struct("<I")
_POSITION: Final = struct.Struct("<QQQ")  # segment's first seq, byte offset, last seq
BLOCK_OVERHEAD: Final = _BLOCK.size + _CRC.size


class SpoolFormatError(ValueError):
    """Bytes are no segment header or sidecar of this format."""


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    stream: str
    first_seq: int
    hash_before: bytes  # running line hash of the stream before first_seq
    size: int  # bytes of the encoded header


@dataclass(frozen=True, slots=True)
class Block:
    first_seq: int
    count: int
    payload: bytes  # `count` lines, each with its newline
    end: int  # offset in the buffer just behind this block

    @property
    def last_seq(self) -> int:
        return self.first_seq + self.count - 1


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a stream's spool: `offset` bytes into the segment that starts at `segment`."""

    segment: int
    offset: int
    last_seq: int


def segment_name(first_seq: int) -> str:
    """Name a segment file so that names sort by seq.

    >>> segment_name(42)
    '00000000000000000042.seg'
    """
    return f"{first_seq:020d}{SEGMENT_SUFFIX}"


def line_hash(before: bytes, line: bytes) -> bytes:
    """Advance the running hash by one line (newline included): SHA-256(before + line)."""
    return hashlib.sha256(before + line).digest()


def encode_segment_header(
    *, stream: str, first_seq: int, hash_before: bytes, crc: Checksum
) -> bytes:
    name = stream.encode()
    body = _SEGMENT.pack(SEGMENT_MAGIC, len(name), first_seq, hash_before) + name
    return body + _CRC.pack(crc(body))


def decode_segment_header(data: bytes, *, crc: Checksum) -> SegmentHeader:
    """Read the header at the start of a segment.

    :raises SpoolFormatError: for a torn or foreign header.
    """
    if len(data) < _SEGMENT.size:
        raise SpoolFormatError("segment header is torn")
    magic, name_bytes, first_seq, hash_before = _SEGMENT.unpack_from(data)
    if magic != SEGMENT_MAGIC:
        raise SpoolFormatError("not a spool segment")
    end = _SEGMENT.size + name_bytes
    if len(data) < end + _CRC.size or _CRC.unpack_from(data, end)[0] != crc(data[:end]):
        raise SpoolFormatError("segment header is torn or damaged")
    stream = data[_SEGMENT.size : end].decode()
    return SegmentHeader(stream, first_seq, hash_before, end + _CRC.size)


def encode_block(*, first_seq: int, count: int, payload: bytes, crc: Checksum) -> bytes:
    """Frame one group of lines; the checksum covers the frame's head too."""
    head = _BLOCK.pack(BLOCK_MAGIC, len(payload), first_seq, count)
    return head + payload + _CRC.pack(crc(head + payload))


def decode_blocks(data: bytes, *, offset: int, crc: Checksum) -> Iterator[Block]:
    """Yield the whole, valid blocks from `offset` on; stops before the first torn or damaged one.

    The caller knows from `Block.end` of the last one how far the valid part reaches.
    """
    while len(data) - offset >= BLOCK_OVERHEAD:
        magic, size, first_seq, count = _BLOCK.unpack_from(data, offset)
        body_end = offset + _BLOCK.size + size
        if magic != BLOCK_MAGIC or len(data) < body_end + _CRC.size:
            return
        if _CRC.unpack_from(data, body_end)[0] != crc(data[offset:body_end]):
            return
        end = body_end + _CRC.size
        yield Block(first_seq, count, data[offset + _BLOCK.size : body_end], end)
        offset = end


def encode_position(position: Position, *, crc: Checksum) -> bytes:
    """Write a sidecar's content (fixed size, so one pwrite replaces it)."""
    body = _POSITION.pack(position.segment, position.offset, position.last_seq)
    return body + _CRC.pack(crc(body))


def decode_position(data: bytes, *, crc: Checksum) -> Position:
    """Read a sidecar.

    :raises SpoolFormatError: when it is torn; read again, the writer replaces it in one call.
    """
    if len(data) != _POSITION.size + _CRC.size:
        raise SpoolFormatError("sidecar has the wrong size")
    if _CRC.unpack_from(data, _POSITION.size)[0] != crc(data[: _POSITION.size]):
        raise SpoolFormatError("sidecar is torn")
    return Position(*_POSITION.unpack_from(data))
