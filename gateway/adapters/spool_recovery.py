"""What a node does with its spool at boot and while it runs: end dead streams, free what is done.

A dead stream is one whose lock nobody holds. Its torn tail is cut at the last valid block, a
final seal is appended, and it counts as ended. A damaged block inside is kept in a quarantine file
and reported; completeness then names what is missing.
"""

import logging
import os
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

from crc32c import crc32c

from gateway.adapters.spool import ENDED_NAME, lock_stream, open_streams, read_durable, seal_event
from gateway.contracts.access_log import AccessLogEvent, decode, encode
from gateway.contracts.spool import (
    BLOCK_MAGIC,
    SEGMENT_SUFFIX,
    SYNCED_NAME,
    Block,
    Position,
    SegmentHeader,
    SpoolFormatError,
    decode_blocks,
    decode_segment_header,
    encode_block,
    encode_position,
    line_hash,
)

_log = logging.getLogger(__name__)
QUARANTINE_SUFFIX: Final = ".quarantine"


def segments_of(folder: Path) -> list[Path]:
    """Return a stream's segments, oldest first."""
    return sorted(folder.glob(f"*{SEGMENT_SUFFIX}"))


def read_segment(path: Path) -> tuple[SegmentHeader, list[Block], bytes]:
    """Return header, valid blocks and the raw bytes.

    :raises SpoolFormatError: when not even the header is whole.
    """
    data = path.read_bytes()
    header = decode_segment_header(data, crc=crc32c)
    return header, list(decode_blocks(data, offset=header.size, crc=crc32c)), data


def events_of(path: Path) -> Iterator[AccessLogEvent]:
    """Yield the events of a segment's valid blocks."""
    _header, blocks, _data = read_segment(path)
    for block in blocks:
        for line in block.payload.splitlines(keepends=True):
            yield decode(line)


def end_dead_streams(root: Path, *, node: str, now: datetime) -> list[str]:
    """End every stream whose process is gone; return their names."""
    ended = []
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    for folder in sorted(p for p in root.iterdir() if p.is_dir()):
        if (folder / ENDED_NAME).exists():
            continue
        lock = lock_stream(folder)
        if lock is None:
            continue
        try:
            _end_stream(folder, node=node, now=now)
        finally:
            os.close(lock)
        ended.append(folder.name)
    return ended


def _end_stream(folder: Path, *, node: str, now: datetime) -> None:
    found = _newest_segment(folder)
    if found is None:
        (folder / ENDED_NAME).touch()
        return
    path, header, blocks, data = found
    end = blocks[-1].end if blocks else header.size
    _quarantine(path, data[end:])
    running, last = header.hash_before, header.first_seq - 1
    for block in blocks:
        for line in block.payload.splitlines(keepends=True):
            running = line_hash(running, line)
        last = block.last_seq
    seal = encode(
        seal_event(
            stream=folder.name, node=node, seq=last + 1, now=now, complete_through=now,
            hash_before=running, open_streams=open_streams(folder.parent), final=True,
            reason="ended at the next boot",
        )
    )  # fmt: skip
    tail = encode_block(first_seq=last + 1, count=1, payload=seal, crc=crc32c)
    with path.open("r+b") as file:
        file.truncate(end)
        file.seek(end)
        file.write(tail)
        file.flush()
        os.fsync(file.fileno())
    position = Position(header.first_seq, end + len(tail), last + 1)
    (folder / SYNCED_NAME).write_bytes(encode_position(position, crc=crc32c))
    (folder / ENDED_NAME).touch()


def _newest_segment(folder: Path) -> tuple[Path, SegmentHeader, list[Block], bytes] | None:
    """Find the newest segment with a whole header; one without was never acknowledged from."""
    for path in reversed(segments_of(folder)):
        try:
            return (path, *read_segment(path))
        except SpoolFormatError:
            path.unlink()
    return None


def _quarantine(path: Path, rest: bytes) -> None:
    """Keep what stands behind the last valid block when it is more than a torn tail."""
    if BLOCK_MAGIC in rest[1:] and any(
        True for at in _offsets(rest) for _ in decode_blocks(rest, offset=at, crc=crc32c)
    ):
        kept = path.with_suffix(QUARANTINE_SUFFIX)
        kept.write_bytes(rest)
        _log.error("a damaged block in %s: %d bytes kept in %s", path.name, len(rest), kept.name)


def _offsets(data: bytes) -> Iterator[int]:
    at = data.find(BLOCK_MAGIC, 1)
    while at >= 0:
        yield at
        at = data.find(BLOCK_MAGIC, at + 1)


def done_segments(folder: Path, *, open_segment: str = "") -> list[Path]:
    """Return the segments that the sink has through to their last event, oldest first."""
    durable, paths = read_durable(folder), segments_of(folder)
    done = []
    for index, path in enumerate(paths):
        if path.name == open_segment:
            break
        last = int(paths[index + 1].stem) - 1 if index + 1 < len(paths) else _last_seq(path)
        if last > durable:
            break
        done.append(path)
    return done


def _last_seq(path: Path) -> int:
    header, blocks, _data = read_segment(path)
    return blocks[-1].last_seq if blocks else header.first_seq - 1


def remove_ended(folder: Path) -> None:
    """Remove the folder of an ended stream that holds no segment any more."""
    if (folder / ENDED_NAME).exists() and not segments_of(folder):
        shutil.rmtree(folder)
