"""The sink behind Kafka: topic -> ClickHouse, exactly once, as one of a consumer group.

A message is a block of consecutive lines of one stream. One cycle per partition: accept the lines
that come next in their streams, note offsets and ranges ahead as the metadata of an offset commit
(a stale member of the group is refused there, which fences a paused twin), insert with the token
of the ranges, commit behind them, publish "durable through".

What is covered is dropped and published again; what lies beyond a gap waits in bounded memory
while its offset is passed over, because the shipper sends again from "durable through" as long as
that stands still. At assignment a noted range is redone first, unfiltered, from its offsets.
"""

import logging
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

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

from gateway.contracts.access_log import DURABLE_PARTITIONS, DURABLE_TOPIC, PARTITIONS, TOPIC
from metering import sink_metrics
from metering.clickhouse import ClickHouse
from metering.core.rows import BlockDamagedError, Lines
from metering.errors import MeteringUnavailableError
from metering.proofs import read_prefixes, record_proven
from metering.sink_delivery import Delivery
from metering.sink_streams import (
    Arrived,
    Noted,
    Streams,
    in_order,
    note_of,
    read_message,
    split_batch,
)

POLL_MS: Final = 500
POLL_RECORDS: Final = 200
CALL_MS: Final = 10_000
PROVE_EVERY_S: Final = 60.0
_FENCES: Final = (
    CommitFailedError,
    IllegalGenerationError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)

log = logging.getLogger("tollway.sink")


class FencedError(Exception):
    """The group moved on: the partition is somebody else's, or to be assigned anew."""


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
        try:
            self._consumer.close(autocommit=False)
        finally:
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
        assignment = sorted(self._consumer.assignment())
        self._streams.forget(keep=assignment)
        for partition in assignment:
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
            note = note_of(part)
            self._commit(partition, note.first_offset, note.encode())
            self._delivery.deliver(in_order(part))
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
                num_partitions=DURABLE_PARTITIONS,
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
            partition = TopicPartition(message.topic, message.partition)
            arrived.append(Arrived(partition, message.offset, read_message(message)))
        except BlockDamagedError as error:
            sink_metrics.BAD_MESSAGES.inc()
            log.error("offset %d is no whole block: %s", message.offset, error)  # noqa: TRY400
    return arrived
