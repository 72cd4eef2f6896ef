"""The last step into ClickHouse, the same for spool and Kafka: insert, bisect, dead letters.

Every insert has a token made from its ranges, so repeating one changes nothing, whatever happened
to the first attempt. What ClickHouse refuses is halved until single lines are left; those go to
the dead letters. The plan follows from the lines alone: after a crash the same ranges give the
same inserts with the same tokens.
"""

import contextlib
import json
import logging
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

from gateway.contracts.access_log import format_time, parse_time
from metering import sink_metrics
from metering.clickhouse import ClickHouse, LinesRefusedError
from metering.core.rows import Lines, Lost, Rejected, halve, payload, sort_out, token
from metering.errors import MeteringUnavailableError

RETRY_FIRST_S: Final = 0.1
RETRY_MOST_S: Final = 5.0
RAW_BYTES_MAX: Final = 64 * 1024
_ADMITTED: Final = re.compile(rb'"admitted_at":"([^"]{1,40})"')

T = TypeVar("T")
log = logging.getLogger("tollway.sink")


class StoppedError(Exception):
    """The process is to stop; what was noted ahead is redone at the next start."""


class Delivery:
    """Puts lines into the log and stays at it until they are there."""

    def __init__(self, clickhouse: ClickHouse, *, stop: threading.Event) -> None:
        self._clickhouse = clickhouse
        self._stop = stop

    def deliver(self, parts: Sequence[Lines | Lost]) -> None:
        """Bring every seq of `parts` into the log or the dead letters; returns when it is done.

        :raises StoppedError: when the process is to stop first.
        """
        runs: list[Lines] = []
        dead: list[Rejected] = []
        for part in parts:
            if isinstance(part, Lost):
                dead.extend(_letters(part))
            else:
                good, rejected = sort_out(part)
                runs.extend(good)
                dead.extend(rejected)
        if runs:
            self._insert(runs)
        if dead:
            self._bury(dead)

    def retry(self, action: Callable[[], T]) -> T:
        """Run `action` until ClickHouse answers, with growing pauses.

        :raises StoppedError: when the process is to stop first.
        """
        pause = RETRY_FIRST_S
        while True:
            try:
                return action()
            except MeteringUnavailableError as error:
                sink_metrics.RETRIES.inc()
                log.warning("ClickHouse does not answer, again in %.1f s: %s", pause, error)
                if self._stop.wait(pause):
                    raise StoppedError from error
                pause = min(pause * 2, RETRY_MOST_S)

    def _insert(self, runs: Sequence[Lines]) -> None:
        lines, name = payload(runs), token(runs)
        try:
            self.retry(lambda: self._clickhouse.insert_lines("access_log", lines, token=name))
        except LinesRefusedError as error:
            self._insert_apart(runs, str(error))
            return
        sink_metrics.INSERTS.inc()
        sink_metrics.EVENTS.inc(sum(len(run.lines) for run in runs))

    def _insert_apart(self, runs: Sequence[Lines], reason: str) -> None:
        if len(runs) > 1:
            for run in runs:
                self._insert([run])
        elif len(runs[0].lines) > 1:
            for half in halve(runs[0]):
                self._insert([half])
        else:
            [run] = runs
            self._bury([Rejected(run.stream, run.first_seq, reason, run.lines[0])])

    def _bury(self, dead: Sequence[Rejected]) -> None:
        rows = b"".join(_dead_row(one) for one in dead)
        names = [Lines(one.stream, one.seq, (b"",)) for one in dead]
        self.retry(
            lambda: self._clickhouse.insert_lines(
                "dead_letter", rows, token=f"dead-{token(names)}"
            )
        )
        sink_metrics.DEAD_LETTERS.inc(len(dead))
        for one in dead:
            log.error("dead letter %s:%d: %s", one.stream, one.seq, one.reason)


def _letters(lost: Lost) -> Iterator[Rejected]:
    """One letter for each seq; the bytes found in their place go with the first."""
    for seq in range(lost.first_seq, lost.last_seq + 1):
        yield Rejected(lost.stream, seq, lost.reason, lost.raw if seq == lost.first_seq else b"")


def _dead_row(one: Rejected) -> bytes:
    row: dict[str, Any] = {
        "stream": one.stream,
        "seq": one.seq,
        "reason": one.reason[:2000],
        "raw": one.raw[:RAW_BYTES_MAX].decode(errors="backslashreplace"),
    }
    match = _ADMITTED.search(one.raw)
    if match is not None:
        # Without an instant it may touch any period, and blocks them all until resolved.
        with contextlib.suppress(ValueError):
            row["admitted_at"] = format_time(parse_time(match[1].decode()))
    return json.dumps(row, separators=(",", ":")).encode() + b"\n"
