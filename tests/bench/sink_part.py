"""Part two: events a second that the sink brings into the embedded engine, exactly once.

The stream lies ready before the sink starts: in the spool, or brought from there to a Kafka of its
own by the product's shipper, which has ended by then. The clock runs from the first rows that are
seen to the last, so that neither the start of the process nor the joining of its group is in the
figure.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from deploy.servers import ServerUnavailableError, start_kafka
from gateway.adapters.shipper import ShipperSettings, run_shipper
from gateway.adapters.spool_files import SHIPPED_NAME, read_position
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
    """Measure the sink from the spool, then from Kafka, each round on an engine of its own."""
    spool = [_from_spool(folder / f"spool-{number}", events) for number in range(rounds)]
    rows = [("spool to ClickHouse, events a second", spread_of(spool), "1/s")]
    try:
        kafka = [_from_kafka(folder / f"kafka-{number}", events) for number in range(rounds)]
    except ServerUnavailableError as error:
        return figures("sink", rows), [f"sink from Kafka: {error}"]
    rows.append(("Kafka to ClickHouse, events a second", spread_of(kafka), "1/s"))
    return figures("sink", rows), []


def _from_spool(folder: Path, events: int) -> float:
    rows = write_stream(folder / "spool", stream=_stream(folder), events=events)
    with embedded_with_schema() as clickhouse, _sink(folder, clickhouse):
        return _drain(clickhouse, rows)


def _from_kafka(folder: Path, events: int) -> float:
    """Ship a stream to a broker of this round alone, then measure.

    :raises ServerUnavailableError: without Kafka.
    """
    server = start_kafka(folder / "broker")
    try:
        rows = write_stream(folder / "spool", stream=_stream(folder), events=events)
        _ship(folder / "spool", server.url, stream=_stream(folder), rows=rows)
        environment = {"KAFKA_BOOTSTRAP_SERVERS": server.url}
        with embedded_with_schema() as clickhouse, _sink(folder, clickhouse, **environment):
            return _drain(clickhouse, rows)
    finally:
        server.stop()


def _stream(folder: Path) -> str:
    return f"node-{folder.name}.1.0"


def _ship(spool_dir: Path, servers: str, *, stream: str, rows: int) -> None:
    """Let the shipper bring the stream to Kafka, and end it once all is acknowledged.

    Its sidecar says a seq only; as a position in the file it never equals `synced`.
    """
    stop = threading.Event()
    settings = ShipperSettings(spool_dir=spool_dir, bootstrap_servers=servers)
    shipper = threading.Thread(
        target=run_shipper, args=(settings,), kwargs={"sweep": lambda: 0, "stop": stop}
    )
    shipper.start()
    try:
        deadline = time.monotonic() + _WITHIN_S
        while _shipped(spool_dir / stream) < rows:
            _pause(deadline, "the shipper")
    finally:
        stop.set()
        shipper.join()


def _shipped(stream_dir: Path) -> int:
    position = read_position(stream_dir / SHIPPED_NAME)
    return position.last_seq if position else 0


@contextmanager
def _sink(folder: Path, clickhouse: Embedded, **environment: str) -> Iterator[None]:
    sink = SinkProcess(folder, clickhouse.url_writer, **environment)
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
            _pause(deadline, "the sink")
        begun = time.perf_counter()
        while (found := _number(client, _COUNT)) < rows:
            _pause(deadline, "the sink")
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


def _pause(deadline: float, who: str) -> None:
    if time.monotonic() > deadline:
        msg = f"{who} did not finish in time"
        raise InvalidRunError(msg)
    time.sleep(_LOOK_EVERY_S)
