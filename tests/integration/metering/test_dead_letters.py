"""Settling dead letters: corrected or given up, never by accident, and the close is free again."""

import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest

from metering.clickhouse import ClickHouse
from metering.core.rows import Lines
from metering.dead_letters import DeadLetterError, dead_letter_resolve
from metering.queries import UsageReader, connect
from metering.sink_delivery import Delivery
from tests.clickhouse import Embedded
from tests.factories.access_log import START, StreamWriter

END = START + timedelta(days=1)


@pytest.fixture
def client(clickhouse: Embedded) -> Iterator[ClickHouse]:
    client = ClickHouse(clickhouse.url_writer)
    for table in ("access_log", "dead_letter", "proven_seal"):
        client.command(f"TRUNCATE TABLE {table}")
    yield client
    client.close()


@pytest.fixture
def reader(clickhouse: Embedded) -> UsageReader:
    return connect(clickhouse.url_readonly)


@pytest.fixture
def events(client: ClickHouse) -> StreamWriter:
    """Three events, the second of which broke on its way and is a dead letter."""
    events = StreamWriter()
    for _ in range(3):
        events.event()
    events.seal()
    lines = (events.lines[0], events.lines[1][:40] + b"\n", *events.lines[2:])
    Delivery(client, stop=threading.Event()).deliver([Lines(events.stream, 1, lines)])
    return events


def test_a_corrected_line_counts_and_frees_the_close(
    client: ClickHouse, reader: UsageReader, events: StreamWriter
) -> None:
    assert reader.dead_letters(start=START, end=END) == 1
    dead_letter_resolve(
        client, stream=events.stream, seq=2, note="cut; alice", line=events.lines[1]
    )
    assert reader.dead_letters(start=START, end=END) == 0
    [usage] = reader.meter_usage(subscription_id="s1", environment="live", start=START, end=END)
    assert usage.events == 3
    [proof] = reader.proofs()
    assert (proof.proven_through, proof.missing, proof.duplicates) == (4, 0, 0)


def test_giving_up_frees_the_close_and_keeps_the_proof(
    client: ClickHouse, reader: UsageReader, events: StreamWriter
) -> None:
    dead_letter_resolve(client, stream=events.stream, seq=2, note="lost; alice")
    assert reader.dead_letters(start=START, end=END) == 0
    [proof] = reader.proofs()
    assert (proof.proven_through, proof.missing, proof.dead_letters) == (4, 0, 0)
    [row] = client.rows("SELECT resolution, raw FROM dead_letter FINAL")
    assert row[0] == "lost; alice"
    assert row[1]


@pytest.mark.parametrize(
    ("case", "seq", "note", "line", "text"),
    [
        ("no letter", 1, "x", None, "no open dead letter"),
        ("no note", 2, " ", None, "note"),
        ("another event", 2, "x", 2, "stood at"),
        ("broken", 2, "x", -1, "not JSON"),
    ],
)
def test_a_wrong_resolution_changes_nothing(
    case: str, seq: int, note: str, line: int | None, text: str,
    client: ClickHouse, reader: UsageReader, events: StreamWriter,
) -> None:  # fmt: skip
    data = None if line is None else b"nonsense" if line < 0 else events.lines[line]
    with pytest.raises(DeadLetterError, match=text):
        dead_letter_resolve(client, stream=events.stream, seq=seq, note=note, line=data)
    assert reader.dead_letters(start=START, end=END) == 1
    assert client.rows("SELECT count() FROM access_log")[0][0] == 3
