"""Segment files for writing: space reserved ahead, blocks behind one another, trimmed at the end.

Nothing here knows of seqs beyond a segment's first one, of loops or of threads; the spool decides
when what is called. Every function may raise OSError.
"""

import errno
import itertools
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.adapters.spool_files import crc, stream_dirs
from gateway.contracts.spool import SEGMENT_SUFFIX, encode_segment_header, segment_name

SPARE_PREFIX: Final = "spare-"
_NO_ROOM: Final = {errno.ENOSPC, errno.EDQUOT}


class Segment:
    """An open segment. `end` is where the next block goes, `size` the bytes reserved for it."""

    def __init__(self, fd: int, *, first_seq: int, size: int) -> None:
        self.fd = fd
        self.first_seq = first_seq
        self.end = 0
        self.size = size

    def write(self, data: bytes | bytearray) -> None:
        """Append whole blocks: one write; goes on after a short one."""
        view = memoryview(data)
        while view:
            written = os.pwrite(self.fd, view, self.end)
            self.end += written
            view = view[written:]

    def finish(self) -> None:
        """Put everything behind an fdatasync, give back the unused space and close."""
        os.fdatasync(self.fd)
        os.ftruncate(self.fd, self.end)
        os.fsync(self.fd)
        os.close(self.fd)


@dataclass(frozen=True, slots=True)
class Spare:
    """A file with a segment's space reserved, not yet part of the stream."""

    fd: int
    path: Path

    def drop(self) -> None:
        os.close(self.fd)
        self.path.unlink(missing_ok=True)


class SegmentSpace:
    """The room of a spool directory: at most `max_bytes` in segments, over all its streams."""

    def __init__(
        self, *, spool_dir: Path, stream_dir: Path, segment_bytes: int, max_bytes: int
    ) -> None:
        self._spool_dir = spool_dir
        self._stream_dir = stream_dir
        self._segment_bytes = segment_bytes
        self._max_bytes = max_bytes
        self._spares = itertools.count()

    def reserve(self) -> Spare | None:
        """Reserve a segment's space on disk; None when there is no room for it."""
        if used_bytes(self._spool_dir) + self._segment_bytes > self._max_bytes:
            return None
        path = self._stream_dir / f"{SPARE_PREFIX}{next(self._spares)}"
        spare = Spare(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), path)
        try:
            os.posix_fallocate(spare.fd, 0, self._segment_bytes)
        except OSError as error:
            spare.drop()
            if error.errno in _NO_ROOM:
                return None
            raise
        return spare

    def make_segment(
        self, spare: Spare, *, stream: str, first_seq: int, hash_before: bytes
    ) -> Segment:
        """Turn a spare into the segment that starts with `first_seq`."""
        spare.path.rename(self._stream_dir / segment_name(first_seq))
        header = encode_segment_header(
            stream=stream, first_seq=first_seq, hash_before=hash_before, crc=crc
        )
        segment = Segment(spare.fd, first_seq=first_seq, size=self._segment_bytes)
        segment.write(header)
        return segment


def used_bytes(spool_dir: Path) -> int:
    """Add up what the segments of all streams take, spares included.

    Streams that are done may be removed meanwhile, by another thread or process.
    """
    total = 0
    for stream_dir in stream_dirs(spool_dir):
        paths: list[Path] = []
        with suppress(FileNotFoundError):
            paths += stream_dir.iterdir()
        for path in paths:
            if path.name.startswith(SPARE_PREFIX) or path.suffix == SEGMENT_SUFFIX:
                with suppress(FileNotFoundError):
                    total += path.stat().st_size
    return total
