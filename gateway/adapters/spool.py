"""The spool: one stream of access-log events on local disk, with admissions and seals.

Owns the port `Spool`: seqs without gaps, the running line hash, which admissions are open, and
what a seal says. Writing is `spool_commit`, recovery of dead streams `spool_recovery`, deletion
`spool_retention`. The composition root opens one per worker and calls `seal` once a minute and at
every step of the clock.
"""

import logging
from pathlib import Path
from typing import Final, Self

from gateway.adapters.spool_commit import GroupCommit, SpoolFigures, SpoolSettings
from gateway.adapters.spool_files import line_head, open_streams
from gateway.adapters.spool_seals import seal_line
from gateway.contracts.spool import ZERO_HASH, line_hash
from gateway.errors import SpoolFailedError, SpoolFullError
from gateway.ports import Admission, Clock

log = logging.getLogger(__name__)

_SEAL_BYTES: Final = 16 * 1024  # of the reserve, for seals alone


def stream_name(*, node: str, boot: str, worker: int) -> str:
    """Name a stream; `boot` must be new at every start of the process.

    >>> stream_name(node="n1", boot="7f3a", worker=0)
    'n1.7f3a.0'
    """
    return f"{node}.{boot}.{worker}"


class FileSpool:
    """The port `Spool` over segment files; used from the event loop that opened it."""

    def __init__(
        self, *, spool_dir: Path, stream: str, node: str, clock: Clock, settings: SpoolSettings
    ) -> None:
        self.stream = stream
        self.node = node
        self._spool_dir = spool_dir
        self._clock = clock
        self._max_line = settings.segment_bytes // 2
        self._seal_bytes = min(settings.reserve_bytes // 4, _SEAL_BYTES)
        self._head = line_head(stream)
        self._commit = GroupCommit(spool_dir=spool_dir, stream=stream, settings=settings)
        self._last_seq = 0
        self._hash = ZERO_HASH
        self._admitted: dict[int, Admission] = {}  # open ones by id(), oldest first
        self._floor_us = 0  # what is admitted from now on is not before this
        self._sealed_us = 0  # the newest `complete_through`
        self._ended = False

    @classmethod
    async def open(
        cls, *, spool_dir: Path, stream: str, node: str, clock: Clock, settings: SpoolSettings,
        lock: int | None = None,
    ) -> Self:  # fmt: skip
        """Start a new stream; `lock` is that of `claim_stream`, where it was claimed before.

        :raises FileExistsError: the stream's name was used before; boots must differ.
        :raises SpoolFullError: no room for a first segment.
        """
        spool = cls(spool_dir=spool_dir, stream=stream, node=node, clock=clock, settings=settings)
        await spool._commit.create(lock=lock)
        return spool

    @property
    def figures(self) -> SpoolFigures:
        return self._commit.figures

    @property
    def unsynced_s(self) -> float:
        """Seconds since the oldest write that is not behind an fdatasync; 0 = all are."""
        return self._commit.unsynced_s

    @property
    def failed(self) -> bool:
        """True after a failed write or fdatasync: the process must exit."""
        return self._commit.failure is not None

    @property
    def ended(self) -> bool:
        """True once a final seal was appended: nothing more can be."""
        return self._ended

    def has_room(self) -> bool:
        """False below the low-water mark and after a failure; comes back when there is room."""
        return self._commit.has_room()

    def admit(self, now_us: int) -> Admission:
        """Open an admission; `admitted_us` never steps back and is not below a seal."""
        self._floor_us = max(self._floor_us, now_us)
        admission = Admission(self._floor_us)
        self._admitted[id(admission)] = admission
        return admission

    def abandon(self, admission: Admission) -> None:
        """Close an admission that will write no event."""
        self._admitted.pop(id(admission), None)

    def append(self, tail: bytes, admission: Admission | None = None) -> int:
        """Give the record its seq, buffer it for this loop turn's write and close the admission.

        :raises SpoolFullError: not even the reserve has room; nothing was taken.
        :raises SpoolFailedError: the disk failed, or the stream has ended.
        :raises ValueError: a record of more than half a segment.
        """
        if self._ended:
            raise SpoolFailedError("the stream has ended")
        seq = self._last_seq + 1
        line = b"%b%d,%b" % (self._head, seq, tail)
        if len(line) > self._max_line:
            msg = f"a record of {len(line)} bytes"
            raise ValueError(msg)
        self._commit.append(line, seq=seq, hash_before=self._hash, keep_bytes=self._seal_bytes)
        self._took(line, seq)
        if admission is not None:
            self._admitted.pop(id(admission), None)
        return seq

    def _took(self, line: bytes, seq: int) -> None:
        self._last_seq = seq
        self._hash = line_hash(self._hash, line)

    async def durable(self, seq: int) -> None:
        """Return once record `seq` is written (`process`) or behind an fdatasync (`power`).

        :raises SpoolFailedError: after a failed write or fdatasync; the process must exit.
        """
        await self._commit.durable(seq)

    async def seal(self, *, final: bool = False, reason: str = "") -> int:
        """Write down how far the stream is complete; returns when the seal is durable.

        `complete_through` is fixed first and the open streams are read after it: a sibling that
        admitted anything before that instant had its folder by then, so the seal names it.
        `line_hash` covers the lines before the seal's own.
        """
        now_us = max(self._clock.now_us(), self._floor_us)
        complete_us = self._complete_through(now_us, final=final)
        streams = await self._commit.in_thread(lambda: open_streams(self._spool_dir))
        seq = self._last_seq + 1
        line = seal_line(
            stream=self.stream,
            node=self.node,
            seq=seq,
            now_us=now_us,
            complete_us=complete_us,
            hash_before=self._hash,
            streams=streams,
            final=final,
            reason=reason,
        )
        self._commit.append(line, seq=seq, hash_before=self._hash, keep_bytes=0)
        self._took(line, seq)
        self._ended = final
        await self.durable(seq)
        return seq

    def _complete_through(self, now_us: int, *, final: bool) -> int:
        """Return min(now, oldest open admission) and let nothing be admitted before it."""
        oldest = next(iter(self._admitted.values()), None)
        complete_us = now_us if final or oldest is None else min(now_us, oldest.admitted_us)
        self._sealed_us = max(self._sealed_us, complete_us)
        self._floor_us = max(self._floor_us, self._sealed_us)
        return self._sealed_us

    async def close(self) -> None:
        """Seal with `final`, fdatasync, mark the stream ended and release its lock.

        The caller has drained its requests: what is admitted and not appended now never will be.
        When there is no room even for the seal, the next boot ends the stream.

        :raises SpoolFailedError: after a failed write or fdatasync; the next boot ends the stream.
        """
        sealed = False
        try:
            await self.seal(final=True, reason="stopped")
            sealed = True
        except SpoolFullError:
            log.warning("no room for the final seal of %s", self.stream)
        finally:
            self._ended = True
            await self._commit.finish(ended=sealed)
