"""The embedded sink over a real engine: exactly once under kill -9 at every step, and what it
does with torn tails, damage, bad lines and an engine that goes away."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.contracts.access_log import Charge, Kind
from metering.clickhouse import ClickHouse
from metering.core.rows import Range
from metering.migrate import migrate
from metering.queries import UsageFilter, connect
from metering.sink_checkpoint import Checkpoint, SinkBusyError
from metering.sink_spool import SpoolSink
from metering.spool_reader import read_sidecar
from tests.clickhouse import ROOT, Embedded, start_embedded
from tests.factories.access_log import START, StreamWriter
from tests.factories.spool_files import SpoolWriter

STEPS = (*range(1, 11), *range(11, 32, 4))
"""Every step of the first batch, then some of those that follow (bisection takes many)."""


@pytest.fixture
def client(clickhouse: Embedded) -> Iterator[ClickHouse]:
    client = ClickHouse(clickhouse.url_writer)
    for table in ("access_log", "dead_letter", "proven_seal"):
        client.command(f"TRUNCATE TABLE {table}")
    yield client
    client.close()


def fill(spool_dir: Path, stream: str, *, blocks: int = 4) -> SpoolWriter:
    """Write a stream with good lines, one that cannot be read and one that ClickHouse refuses."""
    spool = SpoolWriter(spool_dir, StreamWriter(stream=stream))
    for block in range(blocks):
        for _ in range(5):
            spool.events.event()
        if block == 1:
            spool.events.append(b"not json\n")
            # Fine for the first look, refused by the table's constraint.
            spool.events.event(organization_id="", kind=Kind.REQUEST)
        if block == 2:
            spool.new_segment()
        spool.block()
    spool.events.seal()
    spool.block()
    spool.sync()
    return spool


def drain(spool_dir: Path, client: ClickHouse, tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "sink" / "checkpoint.json")
    sink = SpoolSink(
        spool_dir=spool_dir, checkpoint=checkpoint, clickhouse=client, stop=threading.Event()
    )
    sink.redo()
    while sink.step():
        pass
    checkpoint.close()


def stored(client: ClickHouse) -> list[tuple[str, int]]:
    """Every raw row, duplicates included."""
    rows = client.rows("SELECT toString(stream), seq FROM access_log ORDER BY 1, 2")
    return [(row[0], row[1]) for row in rows]


def buried(client: ClickHouse) -> dict[tuple[str, int], str]:
    rows = client.rows("SELECT toString(stream), seq, reason FROM dead_letter FINAL")
    return {(row[0], row[1]): row[2] for row in rows}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.timeout(60)
def test_killed_at_any_step_every_event_is_there_once(
    step: int, client: ClickHouse, clickhouse: Embedded, tmp_path: Path
) -> None:
    spools = [fill(tmp_path / "spool", name) for name in ("n.b.0", "n.b.1")]
    run = [
        sys.executable, "-m", "tests.integration.metering.kill_harness", str(tmp_path / "spool"),
        str(tmp_path / "checkpoint.json"), clickhouse.url_writer,
    ]  # fmt: skip
    first = subprocess.run([*run, str(step)], cwd=ROOT, check=False)  # noqa: S603
    assert first.returncode == -signal.SIGKILL
    # The second one dies too, at another place, before the third may finish.
    second = subprocess.run([*run, str(33 - step)], cwd=ROOT, check=False)  # noqa: S603
    assert second.returncode in {-signal.SIGKILL, 0}
    third = subprocess.run([*run, "0"], cwd=ROOT, check=False)  # noqa: S603
    assert third.returncode == 0
    bad = {(name, seq) for name in ("n.b.0", "n.b.1") for seq in (11, 12)}
    every = {(s.events.stream, seq) for s in spools for seq in range(1, s.written + 1)}
    assert stored(client) == sorted(every - bad), "raw rows: none lost, none doubled"
    assert buried(client).keys() == bad
    for spool in spools:
        durable = read_sidecar(spool.folder / "durable")
        assert durable is not None
        assert durable.last_seq == spool.written


def test_the_bytes_arrive_unchanged(client: ClickHouse, tmp_path: Path) -> None:
    events = StreamWriter()
    sent = events.event(
        quantities={"gb": Decimal("0.000000000001")}, user_agent='q"\\\u00fc\u2028', latency_us=7,
        admitted_at=datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC), charge=Charge.COUNTED,
    )  # fmt: skip
    spool = SpoolWriter(tmp_path / "spool", events)
    spool.block()
    spool.sync()
    drain(tmp_path / "spool", client, tmp_path)
    [row] = client.rows(
        "SELECT quantities, user_agent, latency_us, admitted_at, toString(charge), aborted,"
        " window_start, refusals FROM access_log"
    )
    assert tuple(row) == (
        sent.quantities, sent.user_agent, 7, sent.admitted_at, "counted", False, None, {},
    )  # fmt: skip


def test_dead_letters_name_line_reason_and_instant(
    client: ClickHouse, clickhouse: Embedded, tmp_path: Path
) -> None:
    fill(tmp_path / "spool", "n.b.0")
    drain(tmp_path / "spool", client, tmp_path)
    reasons = buried(client)
    assert "not JSON" in reasons["n.b.0", 11]
    assert "VIOLATED_CONSTRAINT" in reasons["n.b.0", 12]
    raw = client.rows("SELECT raw, admitted_at FROM dead_letter FINAL ORDER BY seq")
    assert raw[0][0] == "not json\n"
    assert (raw[0][1], raw[1][1]) == (None, START)
    reader = connect(clickhouse.url_readonly)
    year = datetime(2027, 1, 1, tzinfo=UTC)
    assert reader.dead_letters(start=START, end=year) == 2
    assert reader.dead_letters(start=year, end=datetime(2028, 1, 1, tzinfo=UTC)) == 1


def test_a_torn_tail_waits_and_damage_is_buried(client: ClickHouse, tmp_path: Path) -> None:
    spool = fill(tmp_path / "spool", "n.b.0")
    with spool.path.open("ab") as file:
        file.write(b"TWBK\x00\x01torn")
    drain(tmp_path / "spool", client, tmp_path)
    assert len(stored(client)) == spool.written - 2
    begin = spool.path.stat().st_size
    spool.events.event()
    spool.block()
    spool.events.event()
    spool.block()
    spool.sync()
    spool.damage(begin + 40)
    drain(tmp_path / "spool", client, tmp_path)
    assert "damaged" in buried(client)["n.b.0", spool.written - 1]
    assert stored(client)[-1] == ("n.b.0", spool.written)


def test_a_sink_without_its_checkpoint_goes_on_from_the_prefix(
    client: ClickHouse, tmp_path: Path
) -> None:
    spool = fill(tmp_path / "spool", "n.b.0")
    drain(tmp_path / "spool", client, tmp_path / "one")
    spool.events.event()
    spool.block()
    spool.sync()
    drain(tmp_path / "spool", client, tmp_path / "two")
    rows = stored(client)
    assert len(rows) == len(set(rows)) == spool.written - 2


def test_a_noted_range_is_redone_as_it_was_and_no_further(
    client: ClickHouse, tmp_path: Path
) -> None:
    """Else the token is another one, and ClickHouse takes the same rows again."""
    spool = SpoolWriter(tmp_path / "spool", StreamWriter(stream="n.b.0"))
    for _ in range(4):
        spool.events.event()
        spool.block()
    spool.sync()
    drain(tmp_path / "spool", client, tmp_path)
    for _ in range(4):  # the gateway goes on while the sink is down
        spool.events.event()
        spool.block()
    spool.sync()
    checkpoint = Checkpoint(tmp_path / "sink" / "checkpoint.json")
    checkpoint.write([Range("n.b.0", 1, 4)])  # killed behind the insert, before this was cleared
    checkpoint.close()
    drain(tmp_path / "spool", client, tmp_path)
    assert stored(client) == [("n.b.0", seq) for seq in range(1, 9)]


def test_two_sinks_on_one_directory_are_refused(tmp_path: Path) -> None:
    first = Checkpoint(tmp_path / "c.json")
    with pytest.raises(SinkBusyError, match="another sink"):
        Checkpoint(tmp_path / "c.json")
    first.close()


@pytest.mark.timeout(60)
def test_the_process_outlives_clickhouse_and_stops_cleanly(tmp_path: Path) -> None:
    server = start_embedded(tmp_path / "clickhouse")
    client = ClickHouse(server.url_writer)
    migrate(client)
    client.close()
    spool = fill(tmp_path / "data" / "spool", "n.b.0")
    environ = {
        **os.environ,
        "TOLLWAY_DATA_DIR": str(tmp_path / "data"),
        "CLICKHOUSE_URL": server.url_writer,
    }
    sink = subprocess.Popen([sys.executable, "-m", "metering", "sink"], cwd=ROOT, env=environ)
    try:
        wait_for(spool)
        server.process.kill()
        server.process.wait()
        for _ in range(10):
            spool.events.event()
        spool.block()
        spool.sync()
        time.sleep(0.5)
        again = start_embedded(tmp_path / "clickhouse", port=server.port)
        try:
            wait_for(spool)
            client = ClickHouse(again.url_writer)
            rows = stored(client)
            assert len(rows) == len(set(rows)) == spool.written - 2
            usage = connect(again.url_readonly).usage(
                UsageFilter(start=START, end=datetime(2027, 1, 1, tzinfo=UTC), everyone=True)
            )
            assert usage.total.events == spool.written - 3
            client.close()
            sink.terminate()
            assert sink.wait(10) == 0
        finally:
            again.stop()
    finally:
        sink.kill()
        sink.wait()
        server.stop()


def wait_for(spool: SpoolWriter, *, timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        durable = read_sidecar(spool.folder / "durable")
        if durable is not None and durable.last_seq == spool.written:
            return
        time.sleep(0.02)
    pytest.fail(f"durable stands at {read_sidecar(spool.folder / 'durable')}")
