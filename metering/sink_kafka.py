"""The sink behind Kafka: topic -> ClickHouse, exactly once, as one of a consumer group.

A message is a block of consecutive lines of one stream. One cycle per partition: accept the lines
that come next in their streams, note offsets and ranges ahead as the metadata of an offset commit
(a stale member of the group is refused there, which fences a paused twin), insert with the token
of the ranges, commit behind them, publish "durable through".

What is covered is dropped and published again; what lies beyond a gap waits in bounded memory
while its offset is passed over, because the shipper sends again from "durable through" as long as
that stands still. At assignment a noted range is redone first, unfiltered, from its offsets.
"""

import json
import logging
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import crc32c
from kafka import ConsumerRebalanceListener, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    KafkaError,
    RebalanceInProgressError,
    TopicAlreadyExistsError,
    UnknownMemberIdError,
)
from kafka.structs import OffsetAndMetadata

from gateway.contracts.access_log import DURABLE_TOPIC, TOPIC
from metering import sink_metrics
from metering.clickhouse import ClickHouse
from metering.core.rows import (
    BlockDamagedError,
    Lines,
    Range,
    merge,
    ranges,
    ranges_from_json,
    ranges_to_json,
    read_block,
)
from metering.errors import MeteringUnavailableError
from metering.proofs import read_prefixes, record_proven
from metering.sink_delivery import Delivery

METADATA_BYTES_MAX: Final = 4000
WAITING_BYTES_MAX: Final = 32 * 1024 * 1024
POLL_MS: Final = 500
POLL_RECORDS: Final = 200
CALL_MS: Final = 10_000
PROVE_EVERY_S: Final = 60.0
PARTITIONS: Final = 12
_FENCES: Final = (
    CommitFailedError,
    IllegalGenerationError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)

log = logging.getLogger("tollway.sink")


class FencedError(Exception):
    """The group moved on: the partition is somebody else's, or to be assigned anew."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """Lines with the offset of the message that brought them."""

    offset: int
    lines: Lines


@dataclass(slots=True)
class Streams:
    """Which seq each stream goes on with, and what waits beyond a gap.

    next_seqs   None until the prefix was read from ClickHouse
    """

    next_seqs: dict[str, int] = field(default_factory=dict)
    waiting: dict[str, dict[int, Arrived]] = field(default_factory=dict)
    waiting_bytes: int = 0

    def accept(self, arrived: Arrived) -> list[Arrived]:
        """Return what may be inserted now that this came: itself, and what waited for it."""
        stream = arrived.lines.stream
        if arrived.lines.first_seq > self.next_seqs[stream]:
            self._wait(arrived)
            return []
        accepted = []
        next_one: Arrived | None = arrived
        while next_one is not None:
            lines = next_one.lines.since(self.next_seqs[stream])
            sink_metrics.COVERED.inc(len(next_one.lines.lines) - len(lines.lines))
            if lines.lines:
                accepted.append(Arrived(next_one.offset, lines))
                self.next_seqs[stream] = lines.last_seq + 1
            next_one = self._fitting(stream)
        return accepted

    def _wait(self, arrived: Arrived) -> None:
        held = self.waiting.setdefault(arrived.lines.stream, {})
        if arrived.lines.first_seq in held:
            return
        if self.waiting_bytes + arrived.lines.size > WAITING_BYTES_MAX:
            sink_metrics.DROPPED.inc(len(arrived.lines.lines))
            return
        held[arrived.lines.first_seq] = arrived
        self._count(arrived.lines.size)

    def _fitting(self, stream: str) -> Arrived | None:
        held = self.waiting.get(stream, {})
        first = min(held, default=None)
        if first is None or first > self.next_seqs[stream]:
            return None
        arrived = held.pop(first)
        self._count(-arrived.lines.size)
        return arrived

    def _count(self, size: int) -> None:
        self.waiting_bytes += size
        sink_metrics.WAITING.set(self.waiting_bytes)


@dataclass(frozen=True, slots=True)
class Noted:
    """What a commit's metadata says is about to be inserted: ranges, from messages at offsets."""

    first_offset: int
    last_offset: int
    ranges: tuple[Range, ...]

    def encode(self) -> str:
        value = [self.first_offset, self.last_offset, ranges_to_json(self.ranges)]
        return json.dumps(value, separators=(",", ":"))

    @classmethod
    def decode(cls, text: str) -> "Noted":
        first, last, noted = json.loads(text)
        return cls(first, last, ranges_from_json(noted))


def read_message(message: Any) -> Lines:
    """Check a message against its headers and cut it into lines.

    :raises BlockDamagedError: when it is not the whole block it says it is.
    """
    headers = dict(message.headers)
    try:
        numbers = {
            name: int(headers[name]) for name in ("first_seq", "last_seq", "count", "crc32c")
        }
        stream = message.key.decode()
    except (KeyError, ValueError, AttributeError) as error:
        msg = f"headers are missing or no numbers: {error}"
        raise BlockDamagedError(msg) from error
    if crc32c.crc32c(message.value) != numbers["crc32c"]:
        raise BlockDamagedError("checksum does not fit")
    lines = read_block(
        stream=stream,
        first_seq=numbers["first_seq"],
        count=numbers["count"],
        payload=message.value,
    )
    if lines.last_seq != numbers["last_seq"]:
        raise BlockDamagedError("last_seq and count do not fit")
    return lines


def split_batch(accepted: Sequence[Arrived]) -> list[list[Arrived]]:
    """Cut a batch so that the note of each part fits into an offset's metadata."""
    parts: list[list[Arrived]] = []
    for arrived in accepted:
        tried = [*parts[-1], arrived] if parts else [arrived]
        if parts and len(_note(tried).encode().encode()) <= METADATA_BYTES_MAX:
            parts[-1].append(arrived)
        else:
            parts.append([arrived])
    return parts


def _in_order(accepted: Iterable[Arrived]) -> list[Lines]:
    """Put each stream's lines behind each other, so that its ranges join up."""
    whole = merge(
        arrived.lines
        for arrived in sorted(accepted, key=lambda a: (a.lines.stream, a.lines.first_seq))
    )
    return [part for part in whole if isinstance(part, Lines)]


def _note(accepted: Sequence[Arrived]) -> Noted:
    offsets = [arrived.offset for arrived in accepted]
    return Noted(min(offsets), max(offsets), ranges(_in_order(accepted)))


class _Assignment(ConsumerRebalanceListener):  # type: ignore[misc]
    """Remembers which partitions came anew; the work is done between polls."""

    def __init__(self) -> None:
        self.fresh: set[TopicPartition] = set()

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        self.fresh.difference_update(revoked)

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self.fresh.update(assigned)


class KafkaSink:
    """One member of the sink's consumer group."""

    def __init__(
        self,
        *,
        servers: str,
        group: str,
        clickhouse: ClickHouse,
        stop: threading.Event,
        topic: str = TOPIC,
        durable_topic: str = DURABLE_TOPIC,
    ) -> None:
        self._clickhouse = clickhouse
        self._delivery = Delivery(clickhouse, stop=stop)
        self._stop = stop
        self._durable_topic = durable_topic
        self._servers = servers
        self._topic = topic
        self._assignment = _Assignment()
        self._streams = Streams()
        self._prove_at = time.monotonic() + PROVE_EVERY_S
        self._ensure_topics()
        self._consumer = KafkaConsumer(
            bootstrap_servers=servers,
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=10_000,  # a killed member's partitions move on after this
            heartbeat_interval_ms=3_000,
            max_poll_interval_ms=3_600_000,  # ClickHouse may be away for long; heartbeats go on
            max_poll_records=POLL_RECORDS,
            max_partition_fetch_bytes=4 * 1024 * 1024,
        )
        self._producer = KafkaProducer(bootstrap_servers=servers, acks="all", linger_ms=0)
        self._consumer.partitions_for_topic(topic)  # so that the first assignment is whole
        self._consumer.subscribe([topic], listener=self._assignment)

    def run(self) -> None:
        """Work until told to stop.

        :raises StoppedError: when that happens while ClickHouse is away.
        """
        try:
            while not self._stop.is_set():
                self.step()
                self._prove()
        finally:
            self.close()

    def close(self) -> None:
        """Leave the group, so that the others take over at once."""
        self._consumer.close(autocommit=False)
        self._producer.close(timeout=5)

    def step(self) -> None:
        """Poll once and deliver what came."""
        polled = self._consumer.poll(timeout_ms=POLL_MS, max_records=POLL_RECORDS)
        self._heal_join()
        try:
            if self._assignment.fresh:
                self._take_over()
                return  # what was polled is read again from where the partitions now stand
            for partition, messages in polled.items():
                self._work(partition, messages)
        except FencedError as error:
            sink_metrics.FENCED.inc()
            log.warning("gave a batch up: %s", error)
            self._assignment.fresh.update(self._consumer.assignment())

    def _heal_join(self) -> None:
        """Bring the client back to a join that it forgot.

        kafka-python 3.0.12: when a poll's time is up between the leader's assignment and the
        answer to it, nothing asks for that answer again, and the member idles for ever.
        """
        coordinator = self._consumer._coordinator
        if coordinator.rejoining and not coordinator.need_rejoin():
            coordinator.request_rejoin()

    def _take_over(self) -> None:
        """Redo what was noted for the new partitions, and set them to their committed place."""
        self._streams = Streams()  # another member may have moved any stream on
        sink_metrics.WAITING.set(0)
        for partition in sorted(self._consumer.assignment()):
            committed = self._consumer.committed(partition, metadata=True, timeout_ms=CALL_MS)
            if committed is None:
                self._consumer.seek_to_beginning(partition)
                continue
            if committed.metadata:
                self._redo(partition, Noted.decode(committed.metadata))
            self._consumer.seek(partition, committed.offset)
        self._assignment.fresh.clear()

    def _redo(self, partition: TopicPartition, noted: Noted) -> None:
        log.info("%s: redoing offsets %d-%d", partition, noted.first_offset, noted.last_offset)
        found = self._reread(partition, noted)
        if found is None:
            log.error("%s: noted offsets are gone; the shipper sends again", partition)
        else:
            self._delivery.deliver(found)
        self._commit(partition, noted.first_offset, "")

    def _reread(self, partition: TopicPartition, noted: Noted) -> list[Lines] | None:
        """Read the noted ranges from their offsets again, whatever ClickHouse has by now."""
        reader = KafkaConsumer(
            bootstrap_servers=self._servers, enable_auto_commit=False, auto_offset_reset="earliest"
        )
        try:
            reader.assign([partition])
            reader.seek(partition, noted.first_offset)
            by_seq: dict[tuple[str, int], bytes] = {}
            deadline = time.monotonic() + CALL_MS / 1000
            while reader.position(partition) <= noted.last_offset:
                if time.monotonic() > deadline:
                    msg = f"{partition} could not be read again in time"
                    raise FencedError(msg)
                for messages in reader.poll(timeout_ms=POLL_MS).values():
                    for arrived in _readable(messages):
                        lines = arrived.lines
                        for seq, line in enumerate(lines.lines, lines.first_seq):
                            by_seq.setdefault((lines.stream, seq), line)
        finally:
            reader.close()
        try:
            return [
                Lines(
                    one.stream,
                    one.first,
                    tuple(by_seq[one.stream, seq] for seq in range(one.first, one.last + 1)),
                )
                for one in noted.ranges
            ]
        except KeyError:
            return None

    def _work(self, partition: TopicPartition, messages: Sequence[Any]) -> None:
        arrived = _readable(messages)
        self._know({one.lines.stream for one in arrived})
        accepted = [ready for one in arrived for ready in self._streams.accept(one)]
        for part in split_batch(accepted):
            note = _note(part)
            self._commit(partition, note.first_offset, note.encode())
            self._delivery.deliver(_in_order(part))
        self._commit(partition, messages[-1].offset + 1, "")
        self._publish({one.lines.stream for one in arrived})

    def _know(self, streams: set[str]) -> None:
        new = sorted(streams - self._streams.next_seqs.keys())
        if new:
            prefixes = self._delivery.retry(lambda: read_prefixes(self._clickhouse, new))
            self._streams.next_seqs.update({s: prefixes[s] + 1 for s in new})

    def _commit(self, partition: TopicPartition, offset: int, metadata: str) -> None:
        """Commit, again and again while nobody answers.

        :raises FencedError: when the group says that this member is not the owner any more.
        """
        place = {partition: OffsetAndMetadata(offset, metadata, -1)}
        while True:
            try:
                self._consumer.commit(place, timeout_ms=CALL_MS)
            except _FENCES as error:
                raise FencedError(str(error)) from error
            except KafkaError as error:
                log.warning("%s: commit is repeated: %s", partition, error)
                if self._stop.wait(1.0):
                    raise FencedError("stopped before the commit") from error
            else:
                return

    def _publish(self, streams: Iterable[str]) -> None:
        """Say how far each stream is durable; repeated whenever a line of it arrives again."""
        for stream in sorted(streams):
            through = self._streams.next_seqs[stream] - 1
            if through > 0:
                self._producer.send(
                    self._durable_topic, key=stream.encode(), value=str(through).encode()
                )
        try:
            self._producer.flush(timeout=CALL_MS / 1000)
        except KafkaError as error:
            log.warning("durable is published later: %s", error)

    def _prove(self) -> None:
        if time.monotonic() < self._prove_at:
            return
        self._prove_at = time.monotonic() + PROVE_EVERY_S
        try:
            record_proven(self._clickhouse)
        except MeteringUnavailableError as error:
            log.warning("proofs are recorded later: %s", error)

    def _ensure_topics(self) -> None:
        topics: Mapping[str, NewTopic] = {
            self._topic: NewTopic(self._topic, num_partitions=PARTITIONS),
            self._durable_topic: NewTopic(
                self._durable_topic,
                num_partitions=1,
                topic_configs={"cleanup.policy": "compact"},
            ),
        }
        admin = KafkaAdminClient(bootstrap_servers=self._servers)
        try:
            for topic in topics.values():
                try:
                    admin.create_topics([topic], timeout_ms=CALL_MS)
                except TopicAlreadyExistsError:
                    continue
        finally:
            admin.close()


def _readable(messages: Iterable[Any]) -> list[Arrived]:
    """Read messages; one that is no whole block is counted, and sent again by the shipper."""
    arrived = []
    for message in messages:
        try:
            arrived.append(Arrived(message.offset, read_message(message)))
        except BlockDamagedError as error:
            sink_metrics.BAD_MESSAGES.inc()
            log.error("offset %d is no whole block: %s", message.offset, error)  # noqa: TRY400
    return arrived
