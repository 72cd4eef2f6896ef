"""Settling a dead letter: put the corrected event into the log, or give the line up, with a note.

The letter stays, resolved; it keeps standing in for its seq in the proofs.
"""

from typing import Final

from metering.clickhouse import ClickHouse
from metering.core.rows import Lines, line_fault, token

_OPEN: Final = """
SELECT count() FROM dead_letter FINAL
WHERE stream = {stream:String} AND seq = {seq:UInt64} AND resolved_at IS NULL
"""
_RESOLVE: Final = """
INSERT INTO dead_letter
    (stream, seq, reason, raw, admitted_at, recorded_at, resolved_at, resolution)
SELECT stream, seq, reason, raw, admitted_at, now64(6, 'UTC'), now64(6, 'UTC'), {note:String}
FROM dead_letter FINAL
WHERE stream = {stream:String} AND seq = {seq:UInt64} AND resolved_at IS NULL
"""


class DeadLetterError(ValueError):
    """The dead letter cannot be resolved this way; the text says why."""


def dead_letter_resolve(
    clickhouse: ClickHouse, *, stream: str, seq: int, note: str, line: bytes | None = None
) -> None:
    """Resolve one dead letter; with `line`, the corrected event goes into the log first.

    :raises DeadLetterError: when there is no open letter, no note, or the line is not that event.
    :raises LinesRefusedError: when ClickHouse refuses the line again; the letter stays open.
    :raises MeteringUnavailableError: when ClickHouse does not answer; run it again.
    """
    names = {"stream": stream, "seq": seq}
    if not note.strip():
        raise DeadLetterError("A note must say why, and who decided.")
    if clickhouse.rows(_OPEN, names)[0][0] == 0:
        msg = f"There is no open dead letter {stream}:{seq}."
        raise DeadLetterError(msg)
    if line is not None:
        whole = line.rstrip(b"\n") + b"\n"
        if fault := line_fault(whole, stream=stream, seq=seq):
            msg = f"The line is not that event: {fault}."
            raise DeadLetterError(msg)
        run = Lines(stream, seq, (whole,))
        clickhouse.insert_lines("access_log", whole, token=f"resolved-{token([run])}")
    clickhouse.command(_RESOLVE, {**names, "note": note})
