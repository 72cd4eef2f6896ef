"""The embedded sink: spool folders -> ClickHouse, exactly once, without a broker.

One cycle: read what is synced of every stream, note the ranges in the checkpoint (fsync), insert
them with their token, clear the checkpoint, publish `durable`. Killed anywhere, the next start
redoes the noted ranges with the same tokens and then goes on from the unbroken prefix that
ClickHouse has of each stream (`architecture.md` §4.4).
"""

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from gateway.contracts.spool import DURABLE_NAME
from metering import sink_metrics
from metering.clickhouse import ClickHouse
from metering.core.rows import Lines, Lost, Range, merge, ranges
from metering.errors import MeteringUnavailableError
from metering.proofs import read_prefixes, record_proven
from metering.sink_checkpoint import Checkpoint
from metering.sink_delivery import Delivery
from metering.spool_reader import StreamReader, publish_durable, read_sidecar

BATCH_BYTES: Final = 8 * 1024 * 1024
STREAM_BYTES: Final = 2 * 1024 * 1024
TICK_S: Final = 0.1
DISCOVER_EVERY_S: Final = 1.0
PROVE_EVERY_S: Final = 60.0

log = logging.getLogger("tollway.sink")


class SpoolSink:
    """Drains every stream folder of one spool directory."""

    def __init__(
        self,
        *,
        spool_dir: Path,
        checkpoint: Checkpoint,
        clickhouse: ClickHouse,
        stop: threading.Event,
    ) -> None:
        self._spool_dir = spool_dir
        self._checkpoint = checkpoint
        self._clickhouse = clickhouse
        self._delivery = Delivery(clickhouse, stop=stop)
        self._stop = stop
        self._readers: dict[str, StreamReader] = {}
        self._turn = 0
        self._discover_at = 0.0
        self._prove_at = time.monotonic() + PROVE_EVERY_S

    def run(self) -> None:
        """Work until told to stop.

        :raises StoppedError: when that happens while ClickHouse is away.
        """
        self.redo()
        while not self._stop.is_set():
            moved = self.step()
            if moved < BATCH_BYTES // 2:
                self._prove()
                self._stop.wait(TICK_S)

    def redo(self) -> None:
        """Insert again, with the same tokens, what was noted ahead of a crash."""
        pending = self._checkpoint.read()
        if not pending:
            return
        log.info("redoing %d ranges noted ahead of the last stop", len(pending))
        parts = [part for noted in pending for part in self._reread(noted)]
        self._delivery.deliver(merge(parts))
        self._checkpoint.write(())

    def _reread(self, noted: Range) -> Sequence[Lines | Lost]:
        """Read a noted range from the spool again, whole, or not at all when it is gone.

        Gone is what the owner deleted, and it deletes only what is durably in ClickHouse.
        """
        reader = StreamReader(self._spool_dir / noted.stream, next_seq=noted.first)
        parts: list[Lines | Lost] = []
        while reader.next_seq <= noted.last:
            read = reader.read(bytes_max=STREAM_BYTES)
            if not read:
                log.error("%s: %d-%d cannot be read again", *_named(noted))
                return ()
            parts.extend(read)
        return [_cut(part, noted.last) for part in parts if part.first_seq <= noted.last]

    def step(self) -> int:
        """Run one cycle and return how many bytes it moved."""
        self._discover()
        parts, moved = self._collect()
        if not parts:
            return 0
        whole = merge(parts)
        self._checkpoint.write(ranges(whole))
        self._delivery.deliver(whole)
        self._checkpoint.write(())
        for stream in sorted({part.stream for part in whole}):
            self._publish(self._readers[stream])
        return moved

    def _discover(self) -> None:
        if time.monotonic() < self._discover_at:
            return
        self._discover_at = time.monotonic() + DISCOVER_EVERY_S
        found = _stream_folders(self._spool_dir)
        for gone in self._readers.keys() - found.keys():
            del self._readers[gone]
        new = sorted(found.keys() - self._readers.keys())
        if new:
            prefixes = self._delivery.retry(lambda: read_prefixes(self._clickhouse, new))
            for stream in new:
                reader = StreamReader(found[stream], next_seq=prefixes[stream] + 1)
                self._readers[stream] = reader
                self._catch_up(reader)
        sink_metrics.STUCK.set(sum(reader.stuck for reader in self._readers.values()))

    def _collect(self) -> tuple[list[Lines | Lost], int]:
        """Read from every stream in turn, each time starting with another one."""
        readers = list(self._readers.values())
        self._turn += 1
        begin = self._turn % len(readers) if readers else 0
        parts: list[Lines | Lost] = []
        moved = 0
        for reader in readers[begin:] + readers[:begin]:
            if moved >= BATCH_BYTES:
                break
            read = reader.read(bytes_max=STREAM_BYTES)
            moved += sum(part.size if isinstance(part, Lines) else 1 for part in read)
            parts.extend(read)
        return parts, moved

    def _catch_up(self, reader: StreamReader) -> None:
        """Publish what was inserted before a crash kept it from being published."""
        published = read_sidecar(reader.folder / DURABLE_NAME)
        if reader.position.last_seq > (published.last_seq if published else 0):
            self._publish(reader)

    def _publish(self, reader: StreamReader) -> None:
        try:
            publish_durable(reader.folder, reader.position)
        except FileNotFoundError:
            log.info("%s: folder is gone", reader.stream)

    def _prove(self) -> None:
        if time.monotonic() < self._prove_at:
            return
        self._prove_at = time.monotonic() + PROVE_EVERY_S
        try:
            record_proven(self._clickhouse)
        except MeteringUnavailableError as error:
            log.warning("proofs are recorded later: %s", error)


def _cut(part: Lines | Lost, last_seq: int) -> Lines | Lost:
    """Leave out what lies behind `last_seq`: more was synced since the range was noted."""
    if isinstance(part, Lines):
        return part.until(last_seq)
    return replace(part, last_seq=min(part.last_seq, last_seq))


def _named(noted: Range) -> tuple[str, int, int]:
    return noted.stream, noted.first, noted.last


def _stream_folders(spool_dir: Path) -> dict[str, Path]:
    try:
        return {path.name: path for path in spool_dir.iterdir() if path.is_dir()}
    except FileNotFoundError:
        return {}  # the gateway has not started yet
