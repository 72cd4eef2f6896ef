"""Rebuilds the quota counters from a file and the spool, exactly, after any crash.

The file holds what segments counted that are gone by now; every segment still there is read
again. A segment is counted into the file (write, fsync, rename) before it is removed, and
`through` tells per stream up to which seq that was done, so a crash between the two counts
nothing twice.
"""

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from gateway.adapters.spool_recovery import events_of, segments_of
from gateway.contracts.access_log import AccessLogEvent
from gateway.core.charges import WindowCharge

ChargesOf = Callable[[AccessLogEvent], list[WindowCharge]]


@dataclass(slots=True)
class Counts:
    """Window key -> (units, end of the window); stream -> seq through which they count."""

    windows: dict[str, tuple[int, int]] = field(default_factory=dict)
    through: dict[str, int] = field(default_factory=dict)

    def add(self, events: Iterable[AccessLogEvent], charges_of: ChargesOf) -> None:
        for event in events:
            if event.seq <= self.through.get(event.stream, 0):
                continue
            for charge in charges_of(event):
                units, _ = self.windows.get(charge.key, (0, 0))
                self.windows[charge.key] = (units + charge.units, charge.end_us)
            self.through[event.stream] = event.seq


def load_counts(path: Path) -> Counts:
    """Read the file; an installation that never wrote one starts at nothing."""
    if not path.exists():
        return Counts()
    data = json.loads(path.read_text())
    windows = {key: (int(units), int(end)) for key, (units, end) in data["windows"].items()}
    return Counts(windows, {str(k): int(v) for k, v in data["through"].items()})


def save_counts(counts: Counts, path: Path, *, now_us: int) -> None:
    """Replace the file durably, without windows that ended more than a day ago."""
    day_us = 86_400_000_000
    kept = {k: list(v) for k, v in counts.windows.items() if v[1] + day_us > now_us}
    temporary = path.with_suffix(".tmp")
    with temporary.open("w") as file:
        json.dump({"windows": kept, "through": counts.through}, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def rebuild(path: Path, spool: Path, charges_of: ChargesOf) -> dict[str, tuple[int, int]]:
    """Return the counters of every window: the file's, and what the spool holds beyond it."""
    counts = load_counts(path)
    for folder in sorted(p for p in spool.iterdir() if p.is_dir()):
        for segment in segments_of(folder):
            counts.add(events_of(segment), charges_of)
    return counts.windows
