"""Reads what the shipper brought to Kafka, and checks each message's frame."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from gateway.adapters.spool_files import crc
from tests.factories.events import seqs, synced_lines
from tests.waiting import eventually_sync


@dataclass
class Topic:
    """Reads a topic from its start: payloads per stream, as they came, headers checked."""

    servers: str
    name: str
    lines: dict[str, list[bytes]] = field(default_factory=dict)
    places: dict[str, set[int]] = field(default_factory=dict)

    @contextmanager
    def reading(self) -> Iterator[Any]:
        consumer = KafkaConsumer(bootstrap_servers=self.servers, enable_auto_commit=False)
        try:
            eventually_sync(lambda: consumer.partitions_for_topic(self.name), within_s=30)
            numbers = consumer.partitions_for_topic(self.name)
            partitions = [TopicPartition(self.name, number) for number in numbers]
            consumer.assign(partitions)
            consumer.seek_to_beginning(*partitions)
            yield consumer
        finally:
            consumer.close()

    def read_until(self, done: Callable[[], bool], *, within_s: float = 40) -> None:
        deadline = time.monotonic() + within_s
        with self.reading() as consumer:
            while not done():
                assert time.monotonic() < deadline, {k: len(v) for k, v in self.lines.items()}
                for records in consumer.poll(timeout_ms=100).values():
                    for record in records:
                        self._take(record)

    def _take(self, record: Any) -> None:
        headers = {name: int(value) for name, value in record.headers}
        lines = record.value.splitlines(keepends=True)
        assert seqs(lines) == list(range(headers["first_seq"], headers["last_seq"] + 1))
        assert (headers["count"], headers["crc32c"]) == (len(lines), crc(record.value))
        stream = record.key.decode()
        self.lines.setdefault(stream, []).extend(lines)
        self.places.setdefault(stream, set()).add(record.partition)

    def has_all_of(self, spool_dir: Path, *streams: str) -> bool:
        return all(
            set(self.lines.get(stream, [])) >= set(synced_lines(spool_dir / stream))
            for stream in streams
        )
