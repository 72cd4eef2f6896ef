"""The spool: one stream's events on local disk, gap-free, behind one write per loop turn.

Writes happen on the event loop on purpose: a `write` to the page cache costs microseconds and
must be over before the answers of the same turn leave (`architecture.md` §4.2). `fdatasync` runs
in a thread, at most one at a time. Format: `gateway.contracts.spool`.
"""

import asyncio
import fcntl
import logging
import os
from collections import deque
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

from crc32c import crc32c

from gateway.contracts.access_log import AccessLogEvent, Kind, encode
from gateway.contracts.environment import Durability
from gateway.contracts.spool import (
    DURABLE_NAME,
    MAX_BLOCK_BYTES,
    MAX_BLOCK_EVENTS,
    SEGMENT_SUFFIX,
    SYNCED_NAME,
    ZERO_HASH,
    Position,
    SpoolFormatError,
    decode_position,
    encode_block,
    encode_position,
    encode_segment_header,
    line_hash,
    segment_name,
)
from gateway.core.instants import to_instant
from gateway.errors import SpoolFailedError, SpoolFullError
from gateway.ports import Admission

_log = logging.getLogger(__name__)
SEGMENT_BYTES: Final = 64 * 1024**2
RESERVE_BYTES: Final = 8 * 1024**2
"""Kept for seals and ends: below it no billable request is admitted."""
LOCK_NAME: Final = "lock"
ENDED_NAME: Final = "ended"
_SEAL_ROOM: Final = 64 * 1024


def lock_stream(folder: Path) -> int | None:
    """Take a stream's lock; None when a living process holds it."""
    descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def seal_event(
    *, stream: str, node: str, seq: int, now: datetime, complete_through: datetime,
    hash_before: bytes, open_streams: tuple[str, ...], final: bool, reason: str,
) -> AccessLogEvent:  # fmt: skip
    """Compose a seal; `line_hash` covers the lines before it, since no line can hold its own."""
    return AccessLogEvent(
        stream=stream, seq=seq, kind=Kind.SEAL, admitted_at=now, finished_at=now, node=node,
        last_seq=seq, line_hash=hash_before.hex(), complete_through=complete_through,
        open_streams=open_streams, final=final, final_reason=reason,
    )  # fmt: skip


def read_durable(folder: Path) -> int:
    """Return the seq through which the sink has a stream; 0 while it has said nothing."""
    try:
        return decode_position((folder / DURABLE_NAME).read_bytes(), crc=crc32c).last_seq
    except (FileNotFoundError, SpoolFormatError):
        return 0


class FileSpool:
    """The spool of one worker (`ports.Spool`). Made inside a running event loop."""

    def __init__(
        self, root: Path, *, node: str, boot: str, worker: int, now_us: Callable[[], int],
        durability: Durability = Durability.PROCESS, max_bytes: int = 10 * 1024**3,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:  # fmt: skip
        self.node = node
        self.stream = f"{node}.{boot}.{worker}"
        self.failed = ""
        self.last_seq = 0
        self.folder = root / self.stream
        self._root = root
        self._now_us = now_us
        self._power = durability is Durability.POWER
        self._max_bytes = max_bytes
        self._segment_bytes = segment_bytes
        self._head = f'{{"v":"v1","stream":"{self.stream}","seq":'.encode()
        self._hash = ZERO_HASH
        self._pending: list[bytes] = []
        self._flush_due = False
        self._written_seq = self._synced_seq = 0
        self._waiters: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._open: dict[int, Admission] = {}
        self._retired: list[int] = []  # full segments that wait for their fdatasync
        self._complete_us = 0
        self._loop = asyncio.get_running_loop()
        self._syncing: asyncio.Task[None] | None = None
        self.folder.mkdir(mode=0o700, parents=True)
        self._lock = lock_stream(self.folder)
        self.used_bytes = sum(p.stat().st_size for p in root.glob(f"*/*{SEGMENT_SUFFIX}"))
        self._synced_fd = os.open(self.folder / SYNCED_NAME, os.O_RDWR | os.O_CREAT, 0o600)
        self._start_segment()

    # -- records -------------------------------------------------------------------------------

    def has_room(self) -> bool:
        return not self.failed and self.used_bytes < self._max_bytes - RESERVE_BYTES

    def admit(self, now_us: int) -> Admission:
        admission = Admission(max(now_us, self._complete_us))
        self._open[id(admission)] = admission
        return admission

    def abandon(self, admission: Admission) -> None:
        self._open.pop(id(admission), None)

    def append(self, tail: bytes, admission: Admission | None = None) -> int:
        if self.failed:
            raise SpoolFailedError(self.failed)
        if self.used_bytes + len(tail) > self._max_bytes - _SEAL_ROOM:
            raise SpoolFullError("the spool is full")
        if admission is not None:
            self._open.pop(id(admission), None)
        return self._add(tail)

    def _add(self, tail: bytes) -> int:
        self.last_seq += 1
        line = b"%b%d,%b" % (self._head, self.last_seq, tail)
        self._hash = line_hash(self._hash, line)
        self._pending.append(line)
        self.used_bytes += len(line)
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)
        return self.last_seq

    async def durable(self, seq: int) -> None:
        if self.failed:
            raise SpoolFailedError(self.failed)
        if seq > (self._synced_seq if self._power else self._written_seq):
            future: asyncio.Future[None] = self._loop.create_future()
            self._waiters.append((seq, future))
            await future

    async def seal(self, *, final: bool = False, reason: str = "") -> int:
        """Append a seal and return its seq once it is durable."""
        now_us = max(self._now_us(), self._complete_us)
        oldest = next(iter(self._open.values()), None)
        self._complete_us = now_us if oldest is None else min(now_us, oldest.admitted_us)
        event = seal_event(
            stream=self.stream, node=self.node, seq=self.last_seq + 1, now=to_instant(now_us),
            complete_through=to_instant(self._complete_us), hash_before=self._hash,
            open_streams=open_streams(self._root), final=final, reason=reason,
        )  # fmt: skip
        seq = self._add(encode(event).split(b",", 3)[3])
        await self.durable(seq)
        return seq

    async def close(self) -> None:
        await self.seal(final=True, reason="stopped")
        await self._sync_until_done()
        (self.folder / ENDED_NAME).touch()
        os.close(self._fd)
        os.close(self._synced_fd)
        if self._lock is not None:
            os.close(self._lock)

    # -- the disk ------------------------------------------------------------------------------

    def _start_segment(self) -> None:
        """Open the next file; every record so far is written, so its start is known."""
        self._segment = self.last_seq + 1
        header = encode_segment_header(
            stream=self.stream, first_seq=self._segment, hash_before=self._hash, crc=crc32c
        )
        path = self.folder / segment_name(self._segment)
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(self._fd, header)
        self._offset = len(header)
        self.used_bytes += len(header)

    def _flush(self) -> None:
        self._flush_due = False
        lines, self._pending = self._pending, []
        try:
            for block, count in _blocks(lines, first_seq=self._written_seq + 1):
                self._write(block)
                self._written_seq += count
            if self._offset >= self._segment_bytes:
                self._retired.append(self._fd)
                self._start_segment()
        except OSError as error:
            self._fail(f"the spool cannot be written: {error}")
            return
        if not self._power:
            self._wake(self._written_seq)
        if self._syncing is None:
            self._syncing = self._loop.create_task(self._sync_until_done())

    def _write(self, block: bytes) -> None:
        done = os.write(self._fd, block)
        while done < len(block):
            done += os.write(self._fd, block[done:])
        self._offset += len(block)

    async def _sync_until_done(self) -> None:
        while self._synced_seq < self._written_seq and not self.failed:
            position = Position(self._segment, self._offset, self._written_seq)
            try:
                retired, self._retired = self._retired, []
                await asyncio.to_thread(self._sync, retired, self._fd, position)
            except OSError as error:
                self._fail(f"fdatasync failed: {error}")
                break
            self._synced_seq = position.last_seq
            if self._power:
                self._wake(self._synced_seq)
        self._syncing = None

    def _sync(self, retired: list[int], descriptor: int, position: Position) -> None:
        """Sync the full segments first: a position in the new one says that they are whole."""
        for full in retired:
            os.fdatasync(full)
            os.close(full)
        os.fdatasync(descriptor)
        os.pwrite(self._synced_fd, encode_position(position, crc=crc32c), 0)

    def _wake(self, seq: int) -> None:
        while self._waiters and self._waiters[0][0] <= seq:
            _, future = self._waiters.popleft()
            if not future.done():
                future.set_result(None)

    def _fail(self, reason: str) -> None:
        """Acknowledge nothing more: a failed write or fdatasync cannot be retried safely."""
        _log.critical("%s", reason)
        self.failed = reason
        while self._waiters:
            _, future = self._waiters.popleft()
            if not future.done():
                future.set_exception(SpoolFailedError(reason))

    @property
    def open_segment(self) -> str:
        """The name of the segment that still grows."""
        return segment_name(self._segment)


def _blocks(lines: list[bytes], *, first_seq: int) -> list[tuple[bytes, int]]:
    """Frame lines as blocks within the bounds of the contract."""
    blocks: list[tuple[bytes, int]] = []
    group: list[bytes] = []
    size = 0
    for line in [*lines, b""]:
        full = len(group) >= MAX_BLOCK_EVENTS or size + len(line) > MAX_BLOCK_BYTES
        if group and (full or not line):
            block = encode_block(
                first_seq=first_seq, count=len(group), payload=b"".join(group), crc=crc32c
            )
            blocks.append((block, len(group)))
            first_seq += len(group)
            group, size = [], 0
        group.append(line)
        size += len(line)
    return blocks


def open_streams(root: Path) -> tuple[str, ...]:
    """Name the streams of this node's spool that have not ended."""
    return tuple(
        sorted(p.name for p in root.iterdir() if p.is_dir() and not (p / ENDED_NAME).exists())
    )
