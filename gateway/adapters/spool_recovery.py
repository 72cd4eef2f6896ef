"""Ends the dead streams in a node's spool: what a boot does before it serves.

A stream is dead when it has not ended and no process holds its lock. Its segments are read to the
last valid block. Behind it lies either a torn tail, which is cut off (nothing in it was
acknowledged), or damage: bytes that must have been records because valid blocks follow or because
`synced` reaches further. Damage is copied to a `.bad` file, counted and alarmed, and overwritten,
in place and in the same length, by one line `{"v":…,"stream":…,"seq":N,"kind":"damaged"}` for each
lost seq: the sink puts these among the dead letters, where they block the close of what they
touch, and the good records behind them flow on. Then a final seal ends the stream.

All of it is repeatable: a crash in between leaves a stream that the next boot recovers again. A
stream that has ended already is read through too, and repaired in the same way where damage came
later.
"""

import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gateway.adapters.spool_files import (
    ENDED_NAME,
    LOCK_NAME,
    DamagedSegmentError,
    StreamReader,
    crc,
    fsync_dir,
    line_head,
    node_lock,
    open_streams,
    read_synced,
    replace_file,
    segment_files,
    stream_dirs,
    try_lock,
    write_position,
)
from gateway.adapters.spool_seals import seal_line
from gateway.adapters.spool_segment import SPARE_PREFIX
from gateway.contracts.access_log import AccessLogDecodeError, Kind, decode
from gateway.contracts.spool import (
    BLOCK_MAGIC,
    BLOCK_OVERHEAD,
    MAX_BLOCK_BYTES,
    MAX_BLOCK_EVENTS,
    SYNCED_NAME,
    ZERO_HASH,
    Block,
    Position,
    SpoolFormatError,
    decode_blocks,
    decode_segment_header,
    encode_block,
    encode_segment_header,
    line_hash,
    segment_name,
)

log = logging.getLogger(__name__)

_DAMAGED: Final = b',"kind":"damaged"'
_LINE_END: Final = b"}\n"


@dataclass(slots=True)
class RecoveredStream:
    """What recovery found and did.

    last_seq         the final seal's seq
    torn_bytes       cut off behind the last valid block
    damaged_seqs     lost records, each replaced by a line that becomes a dead letter
    """

    stream: str
    last_seq: int = 0
    torn_bytes: int = 0
    damaged_seqs: list[int] = field(default_factory=list)


def recover_dead_streams(spool_dir: Path, *, node: str, now_us: int) -> list[RecoveredStream]:
    """End dead streams below `spool_dir`, and repair ended ones; blocks, so call it from a thread.

    `now_us` becomes the `complete_through` of the final seals: a dead stream admits no more.
    """
    recovered = []
    with node_lock(spool_dir):
        for stream_dir in stream_dirs(spool_dir):
            if (stream_dir / ENDED_NAME).exists() and not _is_damaged(stream_dir):
                continue
            lock = try_lock(stream_dir / LOCK_NAME)
            if lock is None:
                continue  # a live worker's
            try:
                recovered.append(_Recovery(stream_dir, node=node).run(now_us=now_us))
            finally:
                os.close(lock)
    return recovered


def _is_damaged(stream_dir: Path) -> bool:
    files = segment_files(stream_dir)
    if not files:
        return False  # all of it is durable, and was deleted
    reader = StreamReader(stream_dir, after=files[0][0] - 1)
    try:
        while reader.read():
            pass
    except DamagedSegmentError as error:
        log.critical("spool: %s", error)
        return True
    return False


class _Recovery:
    """One dead stream, walked once from its first segment to its end."""

    def __init__(self, stream_dir: Path, *, node: str) -> None:
        self._dir = stream_dir
        self._node = node
        self._hash = ZERO_HASH
        self._next = 1
        self._last_line = b""
        self._found = RecoveredStream(stream_dir.name)

    def run(self, *, now_us: int) -> RecoveredStream:
        for spare in self._dir.glob(f"{SPARE_PREFIX}*"):
            spare.unlink()
        files = segment_files(self._dir)
        if not files:
            files = [(1, self._make_first())]
        self._next = files[0][0]
        synced = read_synced(self._dir)
        reaches = synced.last_seq if synced else 0
        for index, (first_seq, path) in enumerate(files):
            is_last = index == len(files) - 1
            through = reaches if is_last else files[index + 1][0] - 1
            self._walk(first_seq, path, through=through, is_first=index == 0)
        self._end(files[-1], now_us=now_us)
        return self._found

    def _make_first(self) -> Path:
        path = self._dir / segment_name(1)
        path.write_bytes(self._header(1))
        return path

    def _header(self, first_seq: int) -> bytes:
        return encode_segment_header(
            stream=self._dir.name, first_seq=first_seq, hash_before=self._hash, crc=crc
        )

    def _walk(self, first_seq: int, path: Path, *, through: int, is_first: bool) -> None:
        """Follow a segment's blocks, repair damage, cut what is behind the last block.

        through   the last seq that must be in this segment
        """
        data = self._repair_header(first_seq, path, is_first=is_first)
        end = decode_segment_header(data, crc=crc).size
        while True:
            for block in decode_blocks(data, offset=end, crc=crc):
                if block.first_seq != self._next:
                    break
                self._follow(block)
                end = block.end
            found = _next_block(data, offset=end, after=self._next)
            upto = found[1].first_seq - 1 if found else through
            if found is None and upto < self._next:
                break
            until = found[0] if found else len(data)
            instead = self._replace(data[end:until], upto=upto, path=path, fit=found is not None)
            data = data[:end] + instead + data[until:]
            _overwrite(path, data[end:], at=end)
        self._found.torn_bytes += len(data[end:].rstrip(b"\0"))
        _overwrite(path, b"", at=end)

    def _repair_header(self, first_seq: int, path: Path, *, is_first: bool) -> bytes:
        """Return the segment's bytes, with a header that checks."""
        data = path.read_bytes()
        try:
            header = decode_segment_header(data, crc=crc)
        except SpoolFormatError:
            log.critical("spool %s: header of %s is damaged", self._dir.name, path.name)
            repaired = self._header(first_seq)
            data = repaired + data[len(repaired) :]
            _overwrite(path, data, at=0)
            return data
        if is_first:
            self._hash = header.hash_before
        return data

    def _follow(self, block: Block) -> None:
        for line in block.payload.splitlines(keepends=True):
            self._hash = line_hash(self._hash, line)
            self._last_line = line
        self._next = block.last_seq + 1

    def _replace(self, damaged: bytes, *, upto: int, path: Path, fit: bool) -> bytes:
        """Keep damaged bytes as evidence; return blocks that stand for seqs `_next`..`upto`."""
        if upto < self._next:
            return b""  # bytes between two blocks, and no record is missing
        evidence = self._dir / f"{path.stem}-{self._next}.bad"
        replace_file(evidence, damaged)
        seqs = range(self._next, upto + 1)
        self._found.damaged_seqs += seqs
        log.critical(
            "spool %s: seqs %d to %d are damaged; bytes kept in %s",
            self._dir.name, seqs[0], seqs[-1], evidence.name,
        )  # fmt: skip
        return placeholder_blocks(
            stream=self._dir.name, seqs=seqs, size=len(damaged) if fit else None
        )

    def _end(self, last: tuple[int, Path], *, now_us: int) -> None:
        """Append the final seal (unless the crash came just behind it) and mark the end."""
        first_seq, path = last
        with path.open("r+b") as file:
            end = file.seek(0, os.SEEK_END)
            if not self._is_sealed():
                seal = seal_line(
                    stream=self._dir.name,
                    node=self._node,
                    seq=self._next,
                    now_us=now_us,
                    complete_us=now_us,
                    hash_before=self._hash,
                    streams=open_streams(self._dir.parent),
                    final=True,
                    reason="recovered",
                )
                end += file.write(
                    encode_block(first_seq=self._next, count=1, payload=seal, crc=crc)
                )
                self._next += 1
            file.flush()
            os.fsync(file.fileno())
        fsync_dir(self._dir)
        position = Position(first_seq, end, self._next - 1)
        write_position(self._dir / SYNCED_NAME, position)
        write_position(self._dir / ENDED_NAME, position)
        self._found.last_seq = self._next - 1

    def _is_sealed(self) -> bool:
        try:
            event = decode(self._last_line)
        except AccessLogDecodeError:
            return False
        return event.kind is Kind.SEAL and event.final


def _overwrite(path: Path, data: bytes, *, at: int) -> None:
    """Make a file end with `data` at offset `at`, on disk."""
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)
        file.truncate()
        file.flush()
        os.fsync(file.fileno())


def _next_block(data: bytes, *, offset: int, after: int) -> tuple[int, Block] | None:
    """Find the first valid block from `offset` on that holds seqs from `after` on."""
    while (offset := data.find(BLOCK_MAGIC, offset)) >= 0:
        block = next(decode_blocks(data, offset=offset, crc=crc), None)
        if block is not None and block.first_seq >= after:
            return offset, block
        offset += 1
    return None


def placeholder_blocks(*, stream: str, seqs: range, size: int | None) -> bytes:
    """Write blocks with one undecodable line per lost seq, padded with spaces to `size` bytes.

    None = as short as it gets. The damaged records were longer than their placeholders, and so
    offsets behind them stay; should there be too few bytes nevertheless, the result is longer.
    """
    head = line_head(stream)
    lines = [b"%b%d%b%b" % (head, seq, _DAMAGED, _LINE_END) for seq in seqs]
    spare = (size or 0) - sum(map(len, lines))
    count = max(-(-len(lines) // MAX_BLOCK_EVENTS), -(-(size or 0) // MAX_BLOCK_BYTES), 1)
    count = min(count, len(lines))
    spare = max(0, spare - count * BLOCK_OVERHEAD)
    blocks = b""
    for index in range(count):
        low, high = len(lines) * index // count, len(lines) * (index + 1) // count
        padding = spare * (index + 1) // count - spare * index // count
        payload = b"".join(lines[low:high]).removesuffix(_LINE_END) + b" " * padding + _LINE_END
        blocks += encode_block(first_seq=seqs[low], count=high - low, payload=payload, crc=crc)
    return blocks
