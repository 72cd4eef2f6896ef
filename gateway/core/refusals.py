"""Rolls refusals up, so that a flood cannot fill the spool (`architecture.md` §3).

The first hundred refusals of a credential in a second are events of their own; from then on they
are counted by reason, and leave as one `refusals` event when the second is over.
"""

from dataclasses import dataclass, field
from typing import Final

from gateway.core.events import Who

MAX_EVENTS_PER_S: Final = 100
_SECOND_US: Final = 1_000_000


@dataclass(slots=True)
class _Second:
    start_us: int
    who: Who
    written: int = 0
    counted_from_us: int = 0
    counts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RollUp:
    """Refusals of one credential counted from `start_us` on, within a second, by reason."""

    who: Who
    start_us: int
    counts: dict[str, int]


class RefusalMeter:
    """Counts per credential and second; time is an argument."""

    def __init__(self) -> None:
        self._seconds: dict[str, _Second] = {}

    def note(self, who: Who, reason: str, *, now_us: int) -> bool:
        """Count a refusal; True = write it as an event of its own."""
        second = self._seconds.get(who.credential_id)
        if second is None or (not second.counts and now_us - second.start_us >= _SECOND_US):
            second = self._seconds[who.credential_id] = _Second(now_us, who)
        if second.written < MAX_EVENTS_PER_S:
            second.written += 1
            return True
        if not second.counts:
            second.counted_from_us = now_us
        second.counts[reason] = second.counts.get(reason, 0) + 1
        return False

    def collect(self, *, now_us: int, everything: bool = False) -> list[RollUp]:
        """Take out the seconds that are over, and return those that counted something."""
        over = [
            key
            for key, second in self._seconds.items()
            if everything or now_us - second.start_us >= _SECOND_US
        ]
        seconds = [self._seconds.pop(key) for key in over]
        return [RollUp(s.who, s.counted_from_us, s.counts) for s in seconds if s.counts]
