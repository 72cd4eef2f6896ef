"""Part two: events a second that the sink brings into the embedded engine, exactly once.

The stream lies ready before the sink starts. The clock runs from the first rows that are seen to
the last, so that the start of the process is not in the figure.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from metering.clickhouse import ClickHouse
from tests.bench.arithmetic import spread_of
from tests.bench.events import write_stream
from tests.bench.report import Figure, InvalidRunError, figures
from tests.clickhouse import Embedded, embedded_with_schema
from tests.sink_process import SinkProcess

EVENTS: Final = 400_000
_LOOK_EVERY_S: Final = 0.05
_WITHIN_S: Final = 300
_COUNT: Final = "SELECT count() FROM access_log"  # read off the parts: it costs the sink nothing
_DISTINCT: Final = "SELECT uniqExact(stream, seq) FROM access_log"


def run_sink(folder: Path, *, rounds: int, events: int = EVENTS) -> tuple[list[Figure], list[str]]:
    """Measure the sink from the spool, each round on an engine of its own."""
    spool = [_round(folder / f"spool-{number}", events) for number in range(rounds)]
    rows = [("spool to ClickHouse, events a second", spread_of(spool), "1/s")]
    return figures("sink", rows), ["sink from Kafka: this bench has no such part yet"]


def _round(folder: Path, events: int) -> float:
    folder.mkdir()
    stream = f"node-{folder.name}.1.0"
    rows = write_stream(folder / "spool", stream=stream, events=events)
    with embedded_with_schema() as clickhouse, _sink(folder, clickhouse):
        return _drain(clickhouse, rows)


@contextmanager
def _sink(folder: Path, clickhouse: Embedded) -> Iterator[None]:
    sink = SinkProcess(folder, clickhouse.url_writer)
    sink.start()
    try:
        yield
    finally:
        sink.kill()


def _drain(clickhouse: Embedded, rows: int) -> float:
    client = ClickHouse(clickhouse.url_readonly)
    try:
        deadline = time.monotonic() + _WITHIN_S
        while not (first := _number(client, _COUNT)):
            _pause(deadline)
        begun = time.perf_counter()
        while (found := _number(client, _COUNT)) < rows:
            _pause(deadline)
        taken_s = time.perf_counter() - begun
        distinct = _number(client, _DISTINCT)
    finally:
        client.close()
    check_rows((found, distinct), rows=rows)
    if first == rows:
        raise InvalidRunError("all events came in one insert; there is nothing to measure")
    return (rows - first) / taken_s


def check_rows(found: tuple[int, int], *, rows: int) -> None:
    """Hold the rows, and the distinct ones, against the lines that were written.

    :raises InvalidRunError: when an event is missing or twice there.
    """
    if found != (rows, rows):
        msg = f"{found[0]} rows, {found[1]} distinct, of {rows} events"
        raise InvalidRunError(msg)


def _number(client: ClickHouse, sql: str) -> int:
    (row,) = client.rows(sql)
    return int(str(row[0]))


def _pause(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise InvalidRunError("the sink did not finish in time")
    time.sleep(_LOOK_EVERY_S)
