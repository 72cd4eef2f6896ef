"""Lines of the access log on their way into ClickHouse: are they whole, and how are they cut.

Pure. The line's bytes are never changed, only judged and grouped, so every function here gives
the same answer after a crash as before it: a range that is redone is the same range with the same
token (`architecture.md` §4.4).
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from gateway.contracts.access_log import (
    REQUIRED,
    SCHEMA_VERSION,
    AccessLogDecodeError,
    decode,
)

DECIMAL_PLACES: Final = 12
"""What the column `quantities` holds; finer units would be cut off without a word."""

_TOO_FINE: Final = re.compile(rb'"quantities":\{[^}]*\.\d{%d}' % (DECIMAL_PLACES + 1))
_KIND: Final = re.compile(rb'"kind":"([a-z_]+)"')
_NEEDED: Final = {
    kind.value.encode(): tuple(f'"{name}":'.encode() for name in names)
    for kind, names in REQUIRED.items()
}


class BlockDamagedError(ValueError):
    """A block is not whole lines of consecutive seqs; the text says what is wrong."""


@dataclass(frozen=True, slots=True)
class Lines:
    """Consecutive lines of one stream, each with its newline."""

    stream: str
    first_seq: int
    lines: tuple[bytes, ...]

    @property
    def last_seq(self) -> int:
        return self.first_seq + len(self.lines) - 1

    @property
    def size(self) -> int:
        return sum(map(len, self.lines))

    def since(self, seq: int) -> "Lines":
        """Leave out what lies before `seq`."""
        skip = max(0, seq - self.first_seq)
        return Lines(self.stream, self.first_seq + skip, self.lines[skip:])

    def until(self, seq: int) -> "Lines":
        """Leave out what lies behind `seq`."""
        return Lines(self.stream, self.first_seq, self.lines[: max(0, seq - self.first_seq + 1)])


@dataclass(frozen=True, slots=True)
class Lost:
    """Seqs `first_seq..last_seq` of a stream that no line can be read for any more."""

    stream: str
    first_seq: int
    last_seq: int
    reason: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Rejected:
    """One line that cannot go into the log, for the dead letters."""

    stream: str
    seq: int
    reason: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Range:
    """Seqs `first..last` of a stream, as the write-ahead notes them."""

    stream: str
    first: int
    last: int


def read_block(*, stream: str, first_seq: int, count: int, payload: bytes) -> Lines:
    """Cut a block into its lines.

    :raises BlockDamagedError: unless there are exactly `count` whole lines.

    >>> read_block(stream="n.b.0", first_seq=7, count=2, payload=b"{}\\n{}\\n").last_seq
    8
    """
    if not payload.endswith(b"\n"):
        raise BlockDamagedError("the last line is cut off")
    lines = tuple(line + b"\n" for line in payload[:-1].split(b"\n"))
    if len(lines) != count:
        msg = f"{len(lines)} lines, {count} were announced"
        raise BlockDamagedError(msg)
    return Lines(stream, first_seq, lines)


def line_fault(line: bytes, *, stream: str, seq: int) -> str:
    """Say why a line cannot go into the log; empty = it can.

    The fast way looks for the head that the gateway writes (fields in declaration order) and for
    the names that the kind requires; a line that does not look like that is decoded in full.
    ClickHouse itself judges the rest.
    """
    head = b'{"v":"%s","stream":"%s","seq":%d,' % (
        SCHEMA_VERSION.encode(),
        stream.encode(),
        seq,
    )
    kind = _KIND.match(line, len(head))
    needed = _NEEDED.get(kind[1]) if kind and line.startswith(head) else None
    if needed is None or b":null" in line or not all(name in line for name in needed):
        try:
            event = decode(line)
        except AccessLogDecodeError as error:
            return str(error)
        if (event.stream, event.seq) != (stream, seq):
            return f"is {event.stream}:{event.seq}, stood at {stream}:{seq}"
    if _TOO_FINE.search(line):
        return f"quantities: more than {DECIMAL_PLACES} decimal places"
    return ""


def sort_out(lines: Lines) -> tuple[tuple[Lines, ...], tuple[Rejected, ...]]:
    """Separate the lines that can go into the log, as unbroken runs, from those that cannot."""
    runs: list[Lines] = []
    rejected: list[Rejected] = []
    begin = 0
    for place, line in enumerate(lines.lines):
        seq = lines.first_seq + place
        if fault := line_fault(line, stream=lines.stream, seq=seq):
            rejected.append(Rejected(lines.stream, seq, fault, line))
            if begin < place:
                runs.append(Lines(lines.stream, lines.first_seq + begin, lines.lines[begin:place]))
            begin = place + 1
    if begin < len(lines.lines):
        runs.append(Lines(lines.stream, lines.first_seq + begin, lines.lines[begin:]))
    return tuple(runs), tuple(rejected)


def halve(lines: Lines) -> tuple[Lines, Lines]:
    """Cut a refused range in two, always at the same place.

    >>> [part.first_seq for part in halve(Lines("s", 5, (b"a", b"b", b"c")))]
    [5, 6]
    """
    middle = len(lines.lines) // 2
    return (
        Lines(lines.stream, lines.first_seq, lines.lines[:middle]),
        Lines(lines.stream, lines.first_seq + middle, lines.lines[middle:]),
    )


def payload(runs: Iterable[Lines]) -> bytes:
    """Put the lines behind each other, unchanged."""
    return b"".join(line for run in runs for line in run.lines)


def token(runs: Sequence[Lines]) -> str:
    """Name an insert by what is in it: the same ranges, the same token, on any machine.

    The bytes of a (stream, seq) never change, so the ranges stand for the rows.

    >>> token([Lines("n.b.0", 1, (b"x",))]) == token([Lines("n.b.0", 1, (b"x",))])
    True
    """
    names = "\n".join(f"{run.stream}:{run.first_seq}-{run.last_seq}" for run in runs)
    return sha256(names.encode()).hexdigest()


def merge(parts: Iterable[Lines | Lost]) -> tuple[Lines | Lost, ...]:
    """Join lines that follow each other, so that how they were read decides nothing.

    >>> [part.last_seq for part in merge([Lines("s", 1, (b"a",)), Lines("s", 2, (b"b",))])]
    [2]
    """
    merged: list[Lines | Lost] = []
    for part in parts:
        last = merged[-1] if merged else None
        if (
            isinstance(last, Lines)
            and isinstance(part, Lines)
            and (last.stream, last.last_seq + 1) == (part.stream, part.first_seq)
        ):
            merged[-1] = Lines(last.stream, last.first_seq, last.lines + part.lines)
        else:
            merged.append(part)
    return tuple(merged)


def ranges(parts: Iterable[Lines | Lost]) -> tuple[Range, ...]:
    """Name the seqs of merged parts, one range per unbroken stretch of a stream."""
    found: list[Range] = []
    for part in parts:
        last = found[-1] if found else None
        if last and (last.stream, last.last + 1) == (part.stream, part.first_seq):
            found[-1] = Range(last.stream, last.first, part.last_seq)
        else:
            found.append(Range(part.stream, part.first_seq, part.last_seq))
    return tuple(found)


def ranges_to_json(noted: Iterable[Range]) -> list[list[str | int]]:
    """Write ranges for a checkpoint file or an offset's metadata."""
    return [[one.stream, one.first, one.last] for one in noted]


def ranges_from_json(value: Iterable[Sequence[Any]]) -> tuple[Range, ...]:
    """Read what `ranges_to_json` wrote."""
    return tuple(Range(str(stream), int(first), int(last)) for stream, first, last in value)
