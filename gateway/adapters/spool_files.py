"""The spool's files on disk: names, locks, sidecars and reading; no writing of events.

Layout of a node's spool directory:

    lock                       held while streams are made, recovered or removed
    shipper.lock               held by the node's one shipper
    <stream>/lock              held by the worker that writes the stream, for as long as it lives
    <stream>/<first_seq>.seg   segments (`gateway.contracts.spool`)
    <stream>/synced, durable   sidecars: behind an fdatasync; in ClickHouse
    <stream>/shipped           sidecar of the shipper: acknowledged by Kafka
    <stream>/ended             sidecar: the last seq of a stream that will get no more
    <stream>/*.bad             damaged bytes, kept as evidence
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import crc32c

from gateway.contracts.spool import (
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
)

LOCK_NAME: Final = "lock"
ENDED_NAME: Final = "ended"
SHIPPED_NAME: Final = "shipped"
SHIPPER_LOCK_NAME: Final = "shipper.lock"
_HEADER_BYTES: Final = 4096  # more than any header: a stream's name is a file name, at most 255
_READ_TRIES: Final = 5


def crc(data: bytes) -> int:
    """Compute CRC32C, the checksum of every frame in the spool."""
    value: int = crc32c.crc32c(data)
    return value


def line_head(stream: str) -> bytes:
    """Write what every line of a stream starts with, up to its seq.

    >>> line_head("n1.b1.0")
    b'{"v":"v1","stream":"n1.b1.0","seq":'
    """
    return f'{{"v":"v1","stream":{json.dumps(stream, ensure_ascii=False)},"seq":'.encode()


def stream_dirs(spool_dir: Path) -> list[Path]:
    """List the folders of the streams, by name."""
    with os.scandir(spool_dir) as entries:
        return sorted(Path(entry.path) for entry in entries if entry.is_dir())


def segment_files(stream_dir: Path) -> list[tuple[int, Path]]:
    """List a stream's segments as (first seq, path), ascending; none if the stream is gone."""
    with suppress(FileNotFoundError):
        return sorted((int(path.stem), path) for path in stream_dir.glob(f"*{SEGMENT_SUFFIX}"))
    return []


def open_streams(spool_dir: Path) -> tuple[str, ...]:
    """Name the streams of this node that have not ended (what a seal lists)."""
    return tuple(path.name for path in stream_dirs(spool_dir) if not (path / ENDED_NAME).exists())


def read_position(path: Path) -> Position | None:
    """Read a sidecar; None when there is none (or when it is torn for good)."""
    for _ in range(_READ_TRIES):
        with suppress(SpoolFormatError):
            try:
                return decode_position(path.read_bytes(), crc=crc)
            except FileNotFoundError:
                return None
    return None


def read_synced(stream_dir: Path) -> Position | None:
    """How far readers may read."""
    return read_position(stream_dir / SYNCED_NAME)


def durable_through(stream_dir: Path) -> int:
    """The seq through which ClickHouse has the stream; 0 when nothing is known."""
    position = read_position(stream_dir / DURABLE_NAME)
    return position.last_seq if position else 0


def write_position(path: Path, position: Position) -> None:
    """Replace a sidecar so that it survives power loss and is never seen half."""
    replace_file(path, encode_position(position, crc=crc))


def replace_file(path: Path, data: bytes) -> None:
    """Replace a file's content: write beside it, fsync, rename, fsync the folder."""
    beside = path.with_name(f"{path.name}.new")
    with beside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    fsync_dir(path.parent)


def fsync_dir(path: Path) -> None:
    """Make names in a folder survive power loss."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def try_lock(path: Path) -> int | None:
    """Take an exclusive lock that dies with the process; None when another holds it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


@contextmanager
def node_lock(spool_dir: Path) -> Iterator[None]:
    """Hold the lock under which streams are made, recovered and removed; waits for it."""
    spool_dir.mkdir(parents=True, exist_ok=True)
    fd = os.open(spool_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def claim_stream(spool_dir: Path, stream: str) -> int:
    """Make a new stream's folder, durably, and return its lock, which dies with the process.

    A worker does so before anyone hears of its boot: one that dies before it has opened the stream
    leaves a folder, and the next boot ends the stream, empty.

    :raises FileExistsError: the name was used before; boots must differ.
    """
    folder = spool_dir / stream
    with node_lock(spool_dir):
        folder.mkdir()
        fd = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
    fsync_dir(spool_dir)
    return fd


class DamagedSegmentError(Exception):
    """A block below the synced position does not check; recovery at the next boot repairs it."""


class StreamReader:
    """Reads one stream's blocks in order, never beyond `synced`.

    next_seq   the seq that the next block must hold
    """

    CHUNK_BYTES: Final = 1024 * 1024

    def __init__(self, stream_dir: Path, *, after: int = 0) -> None:
        self.stream_dir = stream_dir
        self.next_seq = after + 1
        self._segment: int | None = None
        self._offset = 0

    def read(self) -> list[Block]:
        """Return the next blocks, at most about `CHUNK_BYTES`; empty when there are none yet.

        A block that holds `next_seq` in its middle is returned whole: covered seqs come again.

        :raises DamagedSegmentError: when a block that must be there does not check.
        """
        synced = read_synced(self.stream_dir)
        while synced is not None and self.next_seq <= synced.last_seq:
            if self._segment is None and not self._enter():
                return []
            blocks, at_end = self._read_blocks(synced)
            if blocks:
                self.next_seq = blocks[-1].last_seq + 1
                return blocks
            if not at_end:
                continue  # only blocks that were covered already
            self._leave(synced)
        return []

    def _enter(self) -> bool:
        """Find the segment that holds `next_seq` and stand behind its header."""
        fitting = [item for item in segment_files(self.stream_dir) if item[0] <= self.next_seq]
        if not fitting:
            later = segment_files(self.stream_dir)
            if not later:
                return False  # removed: everything in it was durable
            self.next_seq = later[0][0]  # the segments before were covered and deleted
            fitting = later[:1]
        first_seq, path = fitting[-1]
        with path.open("rb") as file:
            head = file.read(_HEADER_BYTES)
        try:
            header = decode_segment_header(head, crc=crc)
        except SpoolFormatError as error:
            msg = f"{path}: {error}"
            raise DamagedSegmentError(msg) from error
        self._segment, self._offset = first_seq, header.size
        return True

    def _read_blocks(self, synced: Position) -> tuple[list[Block], bool]:
        """Read from where we stand; the flag says that this segment holds no more."""
        path = self.stream_dir / f"{self._segment:020d}{SEGMENT_SUFFIX}"
        with path.open("rb") as file:
            file.seek(self._offset)
            limit = self.CHUNK_BYTES
            if synced.segment == self._segment:
                limit = min(limit, synced.offset - self._offset)
            data = file.read(limit)
        blocks = list(decode_blocks(data, offset=0, crc=crc))
        if not blocks:
            return [], True
        self._offset += blocks[-1].end
        return [block for block in blocks if block.last_seq >= self.next_seq], False

    def _leave(self, synced: Position) -> None:
        """Go on to the next segment, which must start with `next_seq`."""
        later = [first for first, _ in segment_files(self.stream_dir) if first == self.next_seq]
        if synced.segment == self._segment or not later or later[0] == self._segment:
            msg = f"{self.stream_dir.name}: seq {self.next_seq} is synced but cannot be read"
            raise DamagedSegmentError(msg)
        self._segment = None
