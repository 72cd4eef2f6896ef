"""Spool -> ClickHouse, exactly once (`architecture.md` §4.4, embedded side).

For each stream: write the range ahead in the checkpoint (fsync, rename), insert exactly these
lines with a token made from the range, then take the range off the checkpoint. After a crash the
range that was written ahead is done again, unfiltered, with the same token; only then is the
contiguous prefix read from ClickHouse. Reads only behind the gateway's last fdatasync.
"""

import json
import logging
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from crc32c import crc32c

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
from metering.clickhouse import ClickHouse, LinesRefusedError
from metering.errors import MeteringUnavailableError

_log = logging.getLogger("tollway.sink")
POLL_S: Final = 0.05
RETRY_S: Final = 0.5
MAX_RANGE_EVENTS: Final = 20_000
TABLE: Final = "access_log"


@dataclass(frozen=True, slots=True)
class Range:
    """Lines `first..last` of one stream; `payload` is their bytes as the gateway wrote them."""

    stream: str
    first: int
    last: int
    payload: bytes

    @property
    def token(self) -> str:
        return f"{self.stream}:{self.first}-{self.last}"


def split_range(whole: Range) -> tuple[Range, Range]:
    """Halve a range, always at the same place, so that its parts have the same tokens again."""
    lines = whole.payload.splitlines(keepends=True)
    half = len(lines) // 2
    middle = whole.first + half
    return (
        Range(whole.stream, whole.first, middle - 1, b"".join(lines[:half])),
        Range(whole.stream, middle, whole.last, b"".join(lines[half:])),
    )


class Checkpoint:
    """Per stream the range that is being inserted; replaced durably, read at start."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.pending: dict[str, tuple[int, int]] = {}
        if path.exists():
            held = json.loads(path.read_text())["pending"]
            self.pending = {stream: (int(a), int(b)) for stream, (a, b) in held.items()}

    def write(self) -> None:
        temporary = self._path.with_suffix(".tmp")
        with temporary.open("w") as file:
            json.dump({"pending": self.pending}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)


def read_synced(folder: Path) -> Position | None:
    """Return how far a stream may be read; None = nothing yet, or the file is being replaced."""
    try:
        return decode_position((folder / SYNCED_NAME).read_bytes(), crc=crc32c)
    except (FileNotFoundError, SpoolFormatError):
        return None


def blocks_after(folder: Path, seq: int, synced: Position) -> Iterator[Block]:
    """Yield the blocks behind `seq` that are behind the last fdatasync, oldest first."""
    paths = sorted(folder.glob(f"*{SEGMENT_SUFFIX}"))
    starts = [int(path.stem) for path in paths]
    for index, path in enumerate(paths):
        if index + 1 < len(starts) and starts[index + 1] <= seq + 1:
            continue
        if starts[index] > synced.segment:
            return
        data = path.read_bytes()
        if starts[index] == synced.segment:
            data = data[: synced.offset]
        try:
            header = decode_segment_header(data, crc=crc32c)
        except SpoolFormatError:
            return
        for block in decode_blocks(data, offset=header.size, crc=crc32c):
            if block.last_seq > seq:
                yield block


class Sink:
    """Moves every stream of a spool directory into ClickHouse."""

    def __init__(self, clickhouse: ClickHouse, *, spool: Path, checkpoint: Path) -> None:
        self._clickhouse = clickhouse
        self._spool = spool
        self._checkpoint = Checkpoint(checkpoint)
        self._through: dict[str, int] = {}
        self.inserted = 0
        self.dead = 0

    def run(self, stop: threading.Event) -> None:
        """Work until asked to stop; ClickHouse being away only makes it wait."""
        is_ready = False
        while not stop.is_set():
            try:
                if not is_ready:
                    self.recover()
                    is_ready = True
                moved = self.step()
            except MeteringUnavailableError as error:
                _log.warning("ClickHouse does not answer, waiting: %s", error)
                stop.wait(RETRY_S)
                continue
            if not moved:
                stop.wait(POLL_S)

    def recover(self) -> None:
        """Do a range that was written ahead again, unfiltered; then read what is there."""
        for stream, (first, last) in list(self._checkpoint.pending.items()):
            whole = self._exact(stream, first, last)
            if whole is not None:
                self._insert(whole)
            del self._checkpoint.pending[stream]
        self._checkpoint.write()
        self._through = {
            str(stream): int(through) for stream, through in self._clickhouse.rows(PREFIXES)
        }

    def _exact(self, stream: str, first: int, last: int) -> Range | None:
        """Read exactly these lines again; None when the spool was already freed of them."""
        folder = self._spool / stream
        synced = read_synced(folder) if folder.is_dir() else None
        if synced is None:
            return None
        lines = []
        for block in blocks_after(folder, first - 1, synced):
            for offset, line in enumerate(block.payload.splitlines(keepends=True)):
                if first <= block.first_seq + offset <= last:
                    lines.append(line)
        if len(lines) != last - first + 1:
            return None
        return Range(stream, first, last, b"".join(lines))

    def step(self) -> int:
        """Move what is new of every stream once; return how many events that was."""
        moved = 0
        if not self._spool.is_dir():
            return 0
        for folder in sorted(p for p in self._spool.iterdir() if p.is_dir()):
            synced = read_synced(folder)
            if synced is not None and synced.last_seq > self._through.get(folder.name, 0):
                moved += self._move(folder, synced)
        return moved

    def _move(self, folder: Path, synced: Position) -> int:
        """Insert the next range of one stream: only the next seq is accepted."""
        stream, before = folder.name, self._through.get(folder.name, 0)
        lines: list[bytes] = []
        for block in blocks_after(folder, before, synced):
            if block.first_seq > before + len(lines) + 1:
                _log.error("%s: a gap before seq %d; it waits", stream, block.first_seq)
                break
            skip = before + len(lines) + 1 - block.first_seq
            lines += block.payload.splitlines(keepends=True)[skip:]
            if len(lines) >= MAX_RANGE_EVENTS:
                break
        if not lines:
            return 0
        whole = Range(stream, before + 1, before + len(lines), b"".join(lines))
        self._checkpoint.pending[stream] = (whole.first, whole.last)
        self._checkpoint.write()
        self._insert(whole)
        del self._checkpoint.pending[stream]
        self._checkpoint.write()
        self._through[stream] = whole.last
        self._publish_durable(folder, whole.last)
        return len(lines)

    def _insert(self, part: Range) -> None:
        """Insert a range; what ClickHouse refuses is halved until single lines are left."""
        try:
            self._clickhouse.insert_lines(TABLE, part.payload, token=part.token)
            self.inserted += part.last - part.first + 1
        except LinesRefusedError as error:
            if part.first == part.last:
                self._bury(part, str(error))
                return
            for half in split_range(part):
                self._insert(half)

    def _bury(self, part: Range, reason: str) -> None:
        """Keep a refused line as a dead letter; it blocks the close of what it touches."""
        _log.error("dead letter %s: %s", part.token, reason)
        row = {
            "stream": part.stream,
            "seq": part.first,
            "reason": reason[:2000],
            "raw": part.payload.decode(errors="replace"),
        }
        payload = json.dumps(row).encode() + b"\n"
        self._clickhouse.insert_lines("dead_letter", payload, token=f"dead:{part.token}")
        self.dead += 1

    def _publish_durable(self, folder: Path, through: int) -> None:
        """Tell the gateway through which seq the stream is in ClickHouse for good."""
        temporary = folder / f"{DURABLE_NAME}.tmp"
        try:
            temporary.write_bytes(encode_position(Position(0, 0, through), crc=crc32c))
            temporary.replace(folder / DURABLE_NAME)
        except FileNotFoundError:
            return  # the gateway has removed the ended stream meanwhile


PREFIXES: Final = """
    SELECT stream, if(max(seq) = uniqExact(seq), max(seq), arrayMax(arrayMap(
        (s, i) -> if(s = i, s, 0), arraySort(groupUniqArray(seq)),
        arrayEnumerate(arraySort(groupUniqArray(seq)))))) AS through
    FROM (SELECT stream, seq FROM access_log UNION ALL SELECT stream, seq FROM dead_letter)
    GROUP BY stream
"""
"""The contiguous prefix of every stream: in a sorted list of distinct seqs, seq = its position."""
