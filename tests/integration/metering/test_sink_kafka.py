"""The sink behind a real Kafka broker: once each, in any order of messages, across members that
die, pause and come back."""

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

import crc32c
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

from metering import sink_metrics
from metering.clickhouse import ClickHouse
from metering.core.rows import Lines
from metering.sink_delivery import StoppedError
from metering.sink_kafka import KafkaSink
from tests.clickhouse import ROOT, Embedded
from tests.factories.access_log import StreamWriter

pytestmark = pytest.mark.timeout(90)


@dataclass
class Topic:
    """A pair of topics of one test, and a shipper's hand."""

    servers: str
    clickhouse: ClickHouse
    name: str = field(default_factory=lambda: f"t-{uuid.uuid4().hex}")

    def __post_init__(self) -> None:
        admin = KafkaAdminClient(bootstrap_servers=self.servers)
        admin.create_topics([NewTopic(self.name, num_partitions=2, replication_factor=1)])
        admin.close()
        self.producer = KafkaProducer(bootstrap_servers=self.servers, acks="all")

    def ship(self, events: StreamWriter, first: int, last: int, *, value: bytes = b"") -> None:
        payload = value or b"".join(events.lines[first - 1 : last])
        numbers = {
            "first_seq": first, "last_seq": last, "count": last - first + 1,
            "crc32c": crc32c.crc32c(payload),
        }  # fmt: skip
        headers = [(name, str(number).encode()) for name, number in numbers.items()]
        self.producer.send(self.name, key=events.stream.encode(), value=payload, headers=headers)
        self.producer.flush()

    def sink(self, stop: threading.Event | None = None) -> KafkaSink:
        return KafkaSink(
            servers=self.servers, group=self.name, clickhouse=self.clickhouse,
            stop=stop or threading.Event(), topic=self.name, durable_topic=f"{self.name}.durable",
        )  # fmt: skip

    def durable(self) -> dict[str, int]:
        """Read the latest "durable through" of each stream."""
        consumer = KafkaConsumer(bootstrap_servers=self.servers, auto_offset_reset="earliest")
        partition = TopicPartition(f"{self.name}.durable", 0)
        consumer.assign([partition])
        end = consumer.end_offsets([partition])[partition]
        found: dict[str, int] = {}
        while consumer.position(partition) < end:
            for messages in consumer.poll(timeout_ms=200).values():
                found.update({m.key.decode(): int(m.value) for m in messages})
        consumer.close()
        return found

    def work(self, sink: KafkaSink, *, rows: int, timeout_s: float = 40) -> None:
        deadline = time.monotonic() + timeout_s
        while len(stored(self.clickhouse)) < rows and time.monotonic() < deadline:
            sink.step()
        sink.step()


@pytest.fixture
def topic(kafka: str, clickhouse: Embedded) -> Iterator[Topic]:
    client = ClickHouse(clickhouse.url_writer)
    for table in ("access_log", "dead_letter", "proven_seal"):
        client.command(f"TRUNCATE TABLE {table}")
    topic = Topic(kafka, client)
    yield topic
    topic.producer.close()
    client.close()


def stored(client: ClickHouse) -> list[tuple[str, int]]:
    """Every raw row, duplicates included."""
    rows = client.rows("SELECT toString(stream), seq FROM access_log ORDER BY 1, 2")
    return [(row[0], row[1]) for row in rows]


def events(count: int, stream: str = "n.b.0") -> StreamWriter:
    writer = StreamWriter(stream=stream)
    for _ in range(count):
        writer.event()
    return writer


def test_repeated_and_overlapping_blocks_count_once(topic: Topic) -> None:
    one, two = events(30), events(10, "n.b.1")
    topic.ship(one, 1, 10)
    topic.ship(two, 1, 10)
    topic.ship(one, 1, 10)
    topic.ship(one, 5, 20)
    topic.ship(one, 21, 30)
    topic.ship(one, 1, 30)
    sink = topic.sink()
    topic.work(sink, rows=40)
    sink.close()
    assert stored(topic.clickhouse) == [
        *(("n.b.0", seq) for seq in range(1, 31)), *(("n.b.1", seq) for seq in range(1, 11)),
    ]  # fmt: skip
    assert topic.durable() == {"n.b.0": 30, "n.b.1": 10}


def test_what_lies_beyond_a_gap_waits_for_it(topic: Topic) -> None:
    one = events(30)
    topic.ship(one, 1, 10)
    topic.ship(one, 21, 30)
    sink = topic.sink()
    topic.work(sink, rows=10)
    sink.step()
    assert len(stored(topic.clickhouse)) == 10
    assert topic.durable() == {"n.b.0": 10}
    topic.ship(one, 11, 20)
    topic.work(sink, rows=30)
    sink.close()
    assert [seq for _, seq in stored(topic.clickhouse)] == list(range(1, 31))
    assert topic.durable() == {"n.b.0": 30}


def test_a_message_that_is_no_whole_block_is_passed_over(topic: Topic) -> None:
    before = sink_metrics.BAD_MESSAGES._value.get()
    one = events(3)
    topic.ship(one, 1, 3, value=b"{}\n")
    topic.producer.send(topic.name, key=b"n.b.0", value=b"no headers")
    topic.ship(one, 1, 3)
    sink = topic.sink()
    topic.work(sink, rows=3)
    sink.close()
    assert len(stored(topic.clickhouse)) == 3
    assert sink_metrics.BAD_MESSAGES._value.get() == before + 2


def test_a_refused_line_is_buried_and_the_stream_goes_on(topic: Topic) -> None:
    one = events(5)
    one.append(b"broken\n")
    one.event()
    topic.ship(one, 1, 7)
    sink = topic.sink()
    topic.work(sink, rows=6)
    sink.close()
    assert len(stored(topic.clickhouse)) == 6
    assert [tuple(r) for r in topic.clickhouse.rows("SELECT seq FROM dead_letter")] == [(6,)]
    assert topic.durable() == {"n.b.0": 7}


KILLED = """
import os, signal, sys, threading
from metering.clickhouse import ClickHouse
from metering.sink_kafka import KafkaSink
servers, url, name, when = sys.argv[1:]
def die(*a, **k):
    os.kill(os.getpid(), signal.SIGKILL)
insert = ClickHouse.insert_lines
if when == "before":
    ClickHouse.insert_lines = die
elif when == "after":
    def insert_and_die(*a, **k):
        insert(*a, **k)
        die()
    ClickHouse.insert_lines = insert_and_die
else:
    KafkaSink._publish = die
KafkaSink(servers=servers, group=name, clickhouse=ClickHouse(url), stop=threading.Event(),
          topic=name, durable_topic=name + ".durable").run()
"""


@pytest.mark.parametrize("when", ["before", "after", "behind the commit"])
def test_killed_around_the_insert_every_event_is_there_once(
    when: str, topic: Topic, clickhouse: Embedded
) -> None:
    one = events(20)
    topic.ship(one, 1, 8)
    topic.ship(one, 9, 12)
    died = subprocess.run(  # noqa: S603
        [sys.executable, "-c", KILLED, topic.servers, clickhouse.url_writer, topic.name, when],
        cwd=ROOT, check=False, timeout=60,
    )  # fmt: skip
    assert died.returncode == -signal.SIGKILL
    assert len(stored(topic.clickhouse)) <= 12
    topic.ship(one, 1, 12)  # the shipper heard nothing and sends again
    topic.ship(one, 13, 20)
    sink = topic.sink()
    topic.work(sink, rows=20)
    sink.close()
    assert [seq for _, seq in stored(topic.clickhouse)] == list(range(1, 21))
    assert topic.durable() == {"n.b.0": 20}


def test_a_noted_range_is_redone_as_noted_whatever_clickhouse_has(topic: Topic) -> None:
    one = events(10)
    topic.ship(one, 1, 10)
    first = topic.sink()
    inserted: list[Lines] = []

    def insert_then_stop(parts: list[Lines]) -> None:
        inserted.extend(parts)
        topic.clickhouse.insert_lines("access_log", b"".join(one.lines[:4]), token="other")
        raise StoppedError

    first._delivery.deliver = insert_then_stop  # type: ignore[method-assign,assignment]
    with pytest.raises(StoppedError):
        topic.work(first, rows=10)
    first.close()
    assert len(stored(topic.clickhouse)) == 4
    second = topic.sink()
    redone: list[Lines] = []
    deliver = second._delivery.deliver

    def watch(parts: list[Lines]) -> None:
        redone.extend(parts)
        deliver(parts)

    second._delivery.deliver = watch  # type: ignore[method-assign,assignment]
    topic.work(second, rows=14)
    second.close()
    assert redone == inserted, "unfiltered, the same rows for the same token"
    rows = topic.clickhouse.rows("SELECT uniqExact(stream, seq) FROM access_log FINAL")
    assert rows[0][0] == 10


def test_a_paused_member_is_fenced_and_another_goes_on(topic: Topic) -> None:
    one, two = events(10), events(10, "n.b.1")
    first = topic.sink()
    topic.ship(one, 1, 10)
    topic.work(first, rows=10)
    second = topic.sink()
    deadline = time.monotonic() + 30
    while not second._consumer.assignment() and time.monotonic() < deadline:
        first.step()  # lets the group rebalance
        second.step()
    assert second._consumer.assignment()
    topic.ship(one, 1, 10)
    topic.ship(two, 1, 10)
    while len(stored(topic.clickhouse)) < 20 and time.monotonic() < deadline:
        first.step()
        second.step()
    first.close()
    second.close()
    rows = stored(topic.clickhouse)
    assert len(rows) == len(set(rows)) == 20


def test_the_process_runs_and_stops_cleanly(
    kafka: str, topic: Topic, clickhouse: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = {
        **os.environ,
        "CLICKHOUSE_URL": clickhouse.url_writer,
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "TOLLWAY_SINK_GROUP": topic.name,
    }
    process = subprocess.Popen([sys.executable, "-m", "metering", "sink"], cwd=ROOT, env=environ)
    try:
        topic.name = "tollway.access-log.v1"
        one = events(5, f"n.{uuid.uuid4().hex}.0")
        deadline = time.monotonic() + 40
        while topic.name not in KafkaConsumer(bootstrap_servers=kafka).topics():
            assert time.monotonic() < deadline
        topic.ship(one, 1, 5)
        while len(stored(topic.clickhouse)) < 5:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.terminate()
        assert process.wait(15) == 0
    finally:
        process.kill()
        process.wait()
