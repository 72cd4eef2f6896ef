"""What each stream has used of the quota windows: a counters file, carried on by the spool.

The spool is the truth. `SpoolKeeper.sweep` folds segments that ClickHouse has into the counters
file (units per stream and window, and the seq through which they count), and only then deletes
them; `rebuild` adds to the file what the spool still holds. So the sum per window is what the
events say, billed and counted, after any crash, and units that a killed request had taken without
ever becoming an event are gone.

One keeper per spool directory: the gateway (embedded) or the shipper (Kafka). It works beside the
hot path, in a thread or process of its own. Which windows an event counts in is the caller's
`Replay`, from the snapshot.
"""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final

from gateway.adapters.quota_memory import KEEP_AFTER_END_US, WindowUse
from gateway.adapters.spool_files import (
    ENDED_NAME,
    StreamReader,
    durable_through,
    node_lock,
    read_position,
    replace_file,
    segment_files,
    stream_dirs,
)
from gateway.contracts.access_log import AccessLogDecodeError, AccessLogEvent, decode
from gateway.core.charges import WindowCharge

log = logging.getLogger(__name__)

Replay = Callable[[AccessLogEvent], Sequence[WindowCharge]]
"""The window charges that an event keeps in the counters; none for a free outcome."""
_COUNTABLE: Final = b'"quantities":{'  # events without units need not be decoded


class CountersFileError(Exception):
    """The counters file is not readable; it is needed because segments were deleted since."""


@dataclass(slots=True)
class StreamUse:
    """Units of one stream per window key, counted through seq `through`."""

    through: int = 0
    windows: dict[str, WindowUse] = field(default_factory=dict)

    def add(self, charge: WindowCharge) -> None:
        use = self.windows.get(charge.key)
        units = charge.units + (use.units if use else 0)
        self.windows[charge.key] = WindowUse(units, charge.end_us)

    def forget_before(self, end_us: int) -> None:
        self.windows = {key: use for key, use in self.windows.items() if use.end_us > end_us}


def load_counters(path: Path) -> dict[str, StreamUse]:
    """Read the counters file; empty when there is none yet.

    :raises CountersFileError: when it is damaged.
    """
    try:
        document = json.loads(path.read_bytes())
        return {
            stream: StreamUse(
                entry["through"],
                {key: WindowUse(units, end) for key, (units, end) in entry["windows"].items()},
            )
            for stream, entry in document["streams"].items()
        }
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"{path} is damaged: {error}"
        raise CountersFileError(msg) from error


def save_counters(path: Path, streams: dict[str, StreamUse]) -> None:
    """Replace the counters file, durably."""
    document = {
        "streams": {
            stream: {
                "through": use.through,
                "windows": {key: [w.units, w.end_us] for key, w in use.windows.items()},
            }
            for stream, use in streams.items()
        }
    }
    replace_file(path, json.dumps(document, separators=(",", ":")).encode())


def fold(use: StreamUse, stream_dir: Path, *, replay: Replay, through: int) -> None:
    """Count the stream's synced events up to seq `through`."""
    for seq, line in _lines(stream_dir, after=use.through, through=through):
        use.through = seq
        if _COUNTABLE not in line:
            continue
        try:
            event = decode(line)
        except AccessLogDecodeError:
            continue  # the sink reports it as a dead letter
        for charge in replay(event):
            use.add(charge)


def _lines(stream_dir: Path, *, after: int, through: int) -> Iterator[tuple[int, bytes]]:
    reader = StreamReader(stream_dir, after=after)
    while reader.next_seq <= through and (blocks := reader.read()):
        for block in blocks:
            lines = block.payload.splitlines(keepends=True)
            for seq, line in enumerate(lines, start=block.first_seq):
                if after < seq <= through:
                    yield seq, line


class SpoolKeeper:
    """Keeps the counters file and deletes what is durable everywhere."""

    def __init__(self, *, spool_dir: Path, counters: Path, replay: Replay) -> None:
        self._spool_dir = spool_dir
        self._counters = counters
        self._replay = replay

    def rebuild(self, *, now_us: int) -> dict[str, dict[str, WindowUse]]:
        """Return what the streams that have ended used in windows that are not over: by stream.

        Call it at boot behind `recover_dead_streams`, and let the answer set the counters.
        """
        with node_lock(self._spool_dir):
            streams = load_counters(self._counters)
            for stream_dir in stream_dirs(self._spool_dir):
                ended = read_position(stream_dir / ENDED_NAME)
                if ended is not None:
                    use = streams.setdefault(stream_dir.name, StreamUse())
                    fold(use, stream_dir, replay=self._replay, through=ended.last_seq)
        live = self._live()
        for use in streams.values():
            use.forget_before(now_us - KEEP_AFTER_END_US)
        return {name: use.windows for name, use in streams.items() if name not in live}

    def _live(self) -> set[str]:
        return {
            path.name for path in stream_dirs(self._spool_dir) if not (path / ENDED_NAME).exists()
        }

    def sweep(self, *, now_us: int) -> int:
        """Count and delete the segments that ClickHouse has; returns how many were deleted."""
        with node_lock(self._spool_dir):
            streams = load_counters(self._counters)
            covered: list[tuple[Path, list[Path], bool]] = []
            for stream_dir in stream_dirs(self._spool_dir):
                through, paths, is_all = _covered(stream_dir)
                if paths:
                    use = streams.setdefault(stream_dir.name, StreamUse())
                    fold(use, stream_dir, replay=self._replay, through=through)
                    covered.append((stream_dir, paths, is_all))
            if covered:
                self._save(
                    streams, now_us=now_us, going={d.name for d, _, is_all in covered if is_all}
                )
            for _, paths, _ in covered:
                for path in paths:
                    path.unlink()
            for stream_dir in stream_dirs(self._spool_dir):
                _remove_if_done(stream_dir)
        return sum(len(paths) for _, paths, _ in covered)

    def _save(self, streams: dict[str, StreamUse], *, now_us: int, going: set[str]) -> None:
        here = {path.name for path in stream_dirs(self._spool_dir)} - going
        for use in streams.values():
            use.forget_before(now_us - KEEP_AFTER_END_US)
        kept = {name: use for name, use in streams.items() if use.windows or name in here}
        save_counters(self._counters, kept)


def _remove_if_done(stream_dir: Path) -> None:
    """Remove the folder of a stream that has ended and holds no segment and no evidence.

    `ended` goes last: without it the next boot would take what is left for a dead stream, and the
    seqs that `synced` tells of for lost.
    """
    ended = stream_dir / ENDED_NAME
    if not ended.exists() or segment_files(stream_dir) or any(stream_dir.glob("*.bad")):
        return
    for path in stream_dir.iterdir():
        if path != ended:
            path.unlink()
    ended.unlink()
    stream_dir.rmdir()


def _covered(stream_dir: Path) -> tuple[int, list[Path], bool]:
    """Tell what may go: (through seq, segments that end at or before it, is that everything)."""
    durable = durable_through(stream_dir)
    files = segment_files(stream_dir)
    ended = read_position(stream_dir / ENDED_NAME)
    if ended is not None and durable >= ended.last_seq:
        return ended.last_seq, [path for _, path in files], True
    through, paths = 0, []
    for (_, path), (following, _) in pairwise(files):
        if following - 1 <= durable:
            through = following - 1
            paths.append(path)
    return through, paths, False
