"""The shipper: a process of its own that brings the spool to Kafka, at least once.

Reads every stream of the node behind its last fdatasync, sends blocks with key = stream (all
replicas acknowledge, idempotent producer), and notes what was acknowledged. From
`tollway.durable.v1` it learns what ClickHouse has; what is durable there is deleted by the keeper
it was given, and what stands still is sent again. Kafka away: it waits and goes on; nothing is
lost, because nothing leaves the spool before it is durable.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic
from kafka.errors import KafkaError, TopicAlreadyExistsError

from gateway.adapters.shipper_streams import Shipment, ShippedStream
from gateway.adapters.spool_files import SHIPPER_LOCK_NAME, stream_dirs, try_lock
from gateway.contracts.access_log import DURABLE_PARTITIONS, DURABLE_TOPIC, PARTITIONS, TOPIC

log = logging.getLogger(__name__)

_SEND_WITHIN_MS: Final = 30_000
_RECONNECT_MS: Final = 1_000
_IDLE_POLL_MS: Final = 100
_BUSY_POLL_MS: Final = 1
_AGAIN_AFTER_S: Final = 1.0


class ShipperRunningError(Exception):
    """Another shipper works on this spool."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShipperSettings:
    """Where from and where to.

    patience_s   how long "durable through" may stand still before its stream is sent again
    sweep_s      how often durable segments are deleted
    """

    spool_dir: Path
    bootstrap_servers: str
    topic: str = TOPIC
    durable_topic: str = DURABLE_TOPIC
    patience_s: float = 60.0
    sweep_s: float = 5.0


@dataclass(slots=True)
class ShipperFigures:
    """What the shipper has done, for `/metrics`."""

    shipments: int = 0
    events: int = 0
    failures: int = 0
    repeats: int = 0
    deleted: int = 0


def run_shipper(
    settings: ShipperSettings, *, sweep: Callable[[], int], stop: threading.Event
) -> None:
    """Ship until `stop` is set. `sweep` deletes durable segments (`SpoolKeeper.sweep`).

    :raises ShipperRunningError: when another one works on this spool.
    """
    settings.spool_dir.mkdir(parents=True, exist_ok=True)
    lock = try_lock(settings.spool_dir / SHIPPER_LOCK_NAME)
    if lock is None:
        msg = f"another shipper works on {settings.spool_dir}"
        raise ShipperRunningError(msg)
    shipper = Shipper(settings, sweep=sweep)
    try:
        while not stop.is_set():
            try:
                shipper.connect()
                while not stop.is_set():
                    shipper.cycle()
            except (KafkaError, OSError) as error:
                shipper.figures.failures += 1
                log.warning("shipper: %s: %s; goes on in a moment", type(error).__name__, error)
                shipper.disconnect()
                stop.wait(_AGAIN_AFTER_S)
    finally:
        shipper.disconnect()
        os.close(lock)


class Shipper:
    """One node's streams and the connections to Kafka; errors of Kafka leave `cycle`."""

    def __init__(self, settings: ShipperSettings, *, sweep: Callable[[], int]) -> None:
        self.figures = ShipperFigures()
        self._settings = settings
        self._sweep = sweep
        self._streams: dict[str, ShippedStream] = {}
        self._producer: Any = None
        self._consumer: Any = None
        self._swept_s = time.monotonic()

    def connect(self) -> None:
        """Make the topics where they are missing, open producer and consumer."""
        servers = self._settings.bootstrap_servers
        self._make_topics()
        self._producer = KafkaProducer(
            bootstrap_servers=servers,
            acks="all",
            enable_idempotence=True,
            linger_ms=0,
            max_block_ms=_SEND_WITHIN_MS,
            delivery_timeout_ms=_SEND_WITHIN_MS,
            request_timeout_ms=_SEND_WITHIN_MS // 3,
            reconnect_backoff_max_ms=_RECONNECT_MS,
        )
        self._consumer = KafkaConsumer(
            bootstrap_servers=servers,
            group_id=None,
            enable_auto_commit=False,
            reconnect_backoff_max_ms=_RECONNECT_MS,
        )
        partitions = self._consumer.partitions_for_topic(self._settings.durable_topic) or {0}
        assigned = [TopicPartition(self._settings.durable_topic, number) for number in partitions]
        self._consumer.assign(assigned)
        self._consumer.seek_to_beginning(*assigned)  # compacted: one value per stream

    def _make_topics(self) -> None:
        topics = {
            self._settings.topic: (PARTITIONS, "delete"),
            self._settings.durable_topic: (DURABLE_PARTITIONS, "compact"),
        }
        admin = KafkaAdminClient(bootstrap_servers=self._settings.bootstrap_servers)
        try:
            for name, (partitions, policy) in topics.items():
                topic = NewTopic(
                    name,
                    num_partitions=partitions,
                    replication_factor=-1,  # the brokers' default
                    topic_configs={"cleanup.policy": policy},
                )
                with suppress(TopicAlreadyExistsError):
                    admin.create_topics([topic])
        finally:
            admin.close()

    def disconnect(self) -> None:
        """Drop the connections; what is not acknowledged will be read again."""
        producer, self._producer = self._producer, None
        consumer, self._consumer = self._consumer, None
        for client, options in ((producer, {"timeout": 0}), (consumer, {})):
            if client is not None:
                with suppress(KafkaError, OSError):
                    client.close(**options)
        for stream in self._streams.values():
            stream.rewind()

    def cycle(self) -> None:
        """Ship what is there, learn what is durable, delete, repeat what stands still."""
        self._find_streams()
        busy = self._ship()
        self._learn(_BUSY_POLL_MS if busy else _IDLE_POLL_MS)
        now_s = time.monotonic()
        for stream in self._streams.values():
            self.figures.repeats += stream.repeat_if_stalled(now_s)
        if now_s - self._swept_s >= self._settings.sweep_s:
            self._swept_s = now_s
            self.figures.deleted += self._sweep()

    def _find_streams(self) -> None:
        found = {path.name: path for path in stream_dirs(self._settings.spool_dir)}
        for name in self._streams.keys() - found.keys():
            del self._streams[name]
        for name in found.keys() - self._streams.keys():
            self._streams[name] = ShippedStream(
                found[name], mono_s=time.monotonic(), patience_s=self._settings.patience_s
            )

    def _ship(self) -> bool:
        """Send the next blocks of every stream and wait for their acknowledgement."""
        sent: list[tuple[ShippedStream, Shipment, Any]] = []
        for stream in self._streams.values():
            for shipment in stream.next_shipments():
                answer = self._producer.send(
                    self._settings.topic,
                    key=stream.key,
                    value=shipment.payload,
                    headers=shipment.headers(),
                )
                sent.append((stream, shipment, answer))
        try:
            for stream, shipment, answer in sent:
                answer.get(timeout=_SEND_WITHIN_MS / 1000)
                stream.acknowledged(shipment)
                self.figures.shipments += 1
                self.figures.events += shipment.count
        finally:
            for stream in self._streams.values():
                stream.save()
        return bool(sent)

    def _learn(self, wait_ms: int) -> None:
        """Read "durable through": key = stream, value = seq, in ASCII."""
        for records in self._consumer.poll(timeout_ms=wait_ms).values():
            for record in records:
                stream = self._streams.get((record.key or b"").decode(errors="replace"))
                if stream is None or record.value is None:
                    continue  # another node's, or gone
                if record.value.isdigit():
                    stream.learn_durable(int(record.value), mono_s=time.monotonic())
                else:
                    log.error("shipper: %r is no seq of %s", record.value[:40], stream.name)
