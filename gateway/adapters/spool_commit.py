"""Group commit of one stream: one write per loop turn, fdatasync in a thread, waiters woken.

The write of a turn's records happens on the event loop, by intent: it goes to the page cache, into
space reserved ahead (a few microseconds), and a hand-over to a thread would cost more. Everything
that can wait for a disk (fdatasync, reserving, trimming) runs in a thread of its own.

`process`: `durable` returns after the write, the fdatasync follows within `sync_delay_s`. `power`:
`durable` returns after the fdatasync of the record's group; the next group forms meanwhile. After
a failed write or fdatasync nothing is acknowledged any more: repeating a failed fdatasync is
unsafe, because the kernel may have dropped the pages.
"""

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from gateway.adapters.spool_files import ENDED_NAME, claim_stream, crc, write_position
from gateway.adapters.spool_segment import Segment, SegmentSpace, Spare
from gateway.contracts.environment import Durability
from gateway.contracts.spool import (
    BLOCK_OVERHEAD,
    MAX_BLOCK_BYTES,
    MAX_BLOCK_EVENTS,
    SYNCED_NAME,
    ZERO_HASH,
    Position,
    encode_block,
    encode_position,
)
from gateway.errors import SpoolFailedError, SpoolFullError

log = logging.getLogger(__name__)

T = TypeVar("T")
_RETRY_ROOM_S: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolSettings:
    """Sizes and times of a spool.

    segment_bytes   a segment's reserved size; deletion works by whole segments
    max_bytes       room for the segments of the directory, other workers' and dead streams' too
    reserve_bytes   kept for seals and the ends of admitted requests: the low-water mark
    sync_delay_s    `process`: how long an fdatasync may wait behind a write
    """

    segment_bytes: int = 16 * 1024 * 1024
    max_bytes: int = 2 * 1024 * 1024 * 1024
    reserve_bytes: int = 1024 * 1024
    sync_delay_s: float = 0.05
    durability: Durability = Durability.PROCESS


@dataclass(slots=True)
class SpoolFigures:
    """What the spool has done, for `/metrics`."""

    records: int = 0
    bytes: int = 0
    writes: int = 0
    syncs: int = 0
    full: int = 0  # times that the last room was used up


class GroupCommit:
    """Writes the lines of one stream; made inside a running event loop, then `create`d."""

    def __init__(self, *, spool_dir: Path, stream: str, settings: SpoolSettings) -> None:
        self.figures = SpoolFigures()
        self.failure: BaseException | None = None
        self._stream = stream
        self._spool_dir = spool_dir
        self._dir = spool_dir / stream
        self._settings = settings
        self._space = SegmentSpace(
            spool_dir=spool_dir,
            stream_dir=self._dir,
            segment_bytes=settings.segment_bytes,
            max_bytes=settings.max_bytes,
        )
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")
        # this turn's records
        self._lines: list[bytes] = []  # of the block that is being filled
        self._lines_bytes = 0
        self._lines_first = 1
        self._blocks = bytearray()  # whole blocks before it
        self._flush_due = False
        # the files
        self._lock: int | None = None
        self._dir_fd = self._synced_fd = -1
        self._segment: Segment
        self._retired: list[Segment] = []
        self._spare: Spare | None = None
        self._closed = False
        # how far it got
        self._appended = self._written = self._synced = 0
        self._unsynced_since_s: float | None = None
        self._sync: asyncio.Future[Spare | None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    # --- start and end ---------------------------------------------------------------------------

    async def create(self, *, lock: int | None = None) -> None:
        """Make the stream's folder unless its `lock` says that this is done; reserve a segment.

        :raises FileExistsError: the name was used before; boots must differ.
        :raises SpoolFullError: no room for a first segment.
        """
        self._lock = lock
        await self.in_thread(self._create)

    def _create(self) -> None:
        if self._lock is None:
            self._lock = claim_stream(self._spool_dir, self._stream)
        self._dir_fd = os.open(self._dir, os.O_RDONLY | os.O_DIRECTORY)
        self._synced_fd = os.open(self._dir / SYNCED_NAME, os.O_RDWR | os.O_CREAT, 0o600)
        self._segment = self._next_segment(first_seq=1, hash_before=ZERO_HASH)
        os.fsync(self._dir_fd)
        self._spare = self._space.reserve()

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run blocking work in the spool's thread, behind what runs there already."""
        return await self._loop.run_in_executor(self._thread, work)

    async def finish(self, *, ended: bool) -> None:
        """Sync what was written, trim the segment, mark it `ended` or not, release the lock.

        :raises SpoolFailedError: after a failed write or fdatasync; the lock is released anyway.
        """
        self._flush()
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        try:
            if self._sync is not None:
                await asyncio.wait([self._sync])
            self._check()
            await self.in_thread(lambda: self._end(ended=ended))
        except OSError as error:
            self._fail(error)
            self._check()
        finally:
            self._thread.shutdown(wait=True)
            for fd in (self._lock, self._dir_fd, self._synced_fd):
                if fd is not None:
                    os.close(fd)

    def _end(self, *, ended: bool) -> None:
        segment = self._segment
        self._sync_files(self._retired, segment, self._written, segment.end, spare_due=False)
        segment.finish()
        if self._spare is not None:
            self._spare.drop()
        position = Position(segment.first_seq, segment.end, self._written)
        if ended:
            write_position(self._dir / ENDED_NAME, position)

    # --- appending -------------------------------------------------------------------------------

    def has_room(self) -> bool:
        """Tell whether more than the reserve is left; False once the disk has failed."""
        if self.failure is not None:
            return False
        return self._spare is not None or self._left() > self._settings.reserve_bytes

    @property
    def unsynced_s(self) -> float:
        """Seconds since the oldest write that is not behind an fdatasync; 0 = all are."""
        since_s = self._unsynced_since_s
        return 0.0 if since_s is None else self._loop.time() - since_s

    def _left(self) -> int:
        """Bytes of lines that the open segment still takes, framing of one more block kept."""
        pending = len(self._blocks) + self._lines_bytes + 2 * BLOCK_OVERHEAD
        return self._segment.size - self._segment.end - pending

    def append(self, line: bytes, *, seq: int, hash_before: bytes, keep_bytes: int) -> None:
        """Buffer a line for this turn's write; `keep_bytes` of the last room are not for it.

        :raises SpoolFullError: no room, reserve included; nothing was buffered.
        :raises SpoolFailedError: after a failed write or fdatasync.
        """
        self._check()
        if len(line) + keep_bytes > self._left():
            self._rotate(first_seq=seq, hash_before=hash_before)
        if len(self._lines) >= MAX_BLOCK_EVENTS or (
            self._lines and self._lines_bytes + len(line) > MAX_BLOCK_BYTES
        ):
            self._close_block()
        if not self._lines:
            self._lines_first = seq
        self._lines.append(line)
        self._lines_bytes += len(line)
        self._appended = seq
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def _close_block(self) -> None:
        if self._lines:
            self._blocks += encode_block(
                first_seq=self._lines_first,
                count=len(self._lines),
                payload=b"".join(self._lines),
                crc=crc,
            )
            self._lines.clear()
            self._lines_bytes = 0

    def _rotate(self, *, first_seq: int, hash_before: bytes) -> None:
        self._write()
        self._check()
        try:
            following = self._next_segment(first_seq=first_seq, hash_before=hash_before)
        except OSError as error:
            self._fail(error)
            self._check()
            raise
        self._retired.append(self._segment)
        self._segment = following
        self._start_sync()

    def _next_segment(self, *, first_seq: int, hash_before: bytes) -> Segment:
        spare = self._spare if self._spare is not None else self._space.reserve()
        if spare is None:
            self.figures.full += 1
            msg = f"no room for another segment of {self._stream}"
            raise SpoolFullError(msg)
        self._spare = None
        return self._space.make_segment(
            spare, stream=self._stream, first_seq=first_seq, hash_before=hash_before
        )

    def _flush(self) -> None:
        """Write what this turn appended; wake those who wait for the write."""
        self._flush_due = False
        if self.failure is None:
            self._write()

    def _write(self) -> None:
        self._close_block()
        if not self._blocks:
            return
        try:
            self._segment.write(self._blocks)
        except OSError as error:
            self._fail(error)
            return
        self.figures.writes += 1
        self.figures.bytes += len(self._blocks)
        self.figures.records += self._appended - self._written
        self._blocks = bytearray()
        self._written = self._appended
        if self._unsynced_since_s is None:
            self._unsynced_since_s = self._loop.time()
        if self._settings.durability is Durability.POWER:
            self._start_sync()
        else:
            self._wake(self._written)
            if self._timer is None:
                self._timer = self._loop.call_later(self._settings.sync_delay_s, self._start_sync)

    # --- syncing ---------------------------------------------------------------------------------

    def _start_sync(self) -> None:
        """Start an fdatasync of all that is written; while one runs, its end starts the next."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._sync is not None or self._closed or self.failure is not None:
            return
        retired, self._retired = self._retired, []
        segment, written, end = self._segment, self._written, self._segment.end
        began_s = self._loop.time()
        spare_due = self._spare is None

        def work() -> Spare | None:
            return self._sync_files(retired, segment, written, end, spare_due=spare_due)

        self._sync = self._loop.run_in_executor(self._thread, work)
        self._sync.add_done_callback(lambda done: self._synced_to(done, written, began_s))

    def _sync_files(
        self, retired: list[Segment], segment: Segment, written: int, end: int, *, spare_due: bool
    ) -> Spare | None:
        for old in retired:
            old.finish()
        os.fdatasync(segment.fd)
        if retired:
            os.fsync(self._dir_fd)
        if written:
            position = Position(segment.first_seq, end, written)
            os.pwrite(self._synced_fd, encode_position(position, crc=crc), 0)
        return self._space.reserve() if spare_due else None

    def _synced_to(self, done: asyncio.Future[Spare | None], written: int, began_s: float) -> None:
        self._sync = None
        error = done.exception()
        if error is not None:
            self._fail(error)
            return
        self._keep(done.result())
        self.figures.syncs += 1
        self._synced = written
        self._unsynced_since_s = began_s if self._written > written else None
        if self._settings.durability is Durability.POWER:
            self._wake(written)
        if self._retired or (
            self._written > written and self._settings.durability is Durability.POWER
        ):
            self._start_sync()
        elif self._timer is None and (self._spare is None or self._written > written):
            delay_s = _RETRY_ROOM_S if self._written == written else self._settings.sync_delay_s
            self._timer = self._loop.call_later(delay_s, self._start_sync)

    def _keep(self, spare: Spare | None) -> None:
        if spare is not None and self._spare is not None:
            spare.drop()  # a rotation was faster and made its own
        elif spare is not None:
            self._spare = spare

    # --- waiting ---------------------------------------------------------------------------------

    async def durable(self, seq: int) -> None:
        """Return once line `seq` is written (`process`) or behind an fdatasync (`power`).

        :raises SpoolFailedError: after a failed write or fdatasync.
        """
        power = self._settings.durability is Durability.POWER
        if seq <= (self._synced if power else self._written):
            return
        self._check()
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append((seq, waiter))
        await waiter

    def _wake(self, through: int) -> None:
        later = []
        while self._waiting:
            seq, waiter = self._waiting.popleft()
            if seq > through:
                later.append((seq, waiter))
            elif not waiter.done():
                waiter.set_result(None)
        self._waiting.extend(later)

    def _fail(self, error: BaseException) -> None:
        if self.failure is None:
            self.failure = error
            log.critical("spool %s failed: %s", self._stream, error)
        while self._waiting:
            _, waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(SpoolFailedError(str(error)))

    def _check(self) -> None:
        if self.failure is not None:
            raise SpoolFailedError(str(self.failure)) from self.failure
