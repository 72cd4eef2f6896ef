"""The sink process: from the spool, or from Kafka where it is set, into ClickHouse."""

import logging
import signal
import threading
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Final, Protocol

from kafka.errors import KafkaError
from prometheus_client import start_http_server

from metering import sink_metrics
from metering.clickhouse import ClickHouse
from metering.config import SinkSettings
from metering.sink_checkpoint import Checkpoint
from metering.sink_delivery import StoppedError
from metering.sink_kafka import KafkaSink
from metering.sink_spool import SpoolSink

AGAIN_AFTER_S: Final = 1.0


class Runs(Protocol):
    """A sink at work."""

    def run(self) -> None: ...


log = logging.getLogger("tollway.sink")


def run_sink(settings: SinkSettings) -> None:
    """Run until SIGTERM or SIGINT; what is under way is finished, or redone at the next start.

    :raises SinkBusyError: when another sink works on this data directory.
    """
    stop = threading.Event()

    def _stop(number: int, frame: FrameType | None) -> None:
        # By another thread: this one may be inside `stop.wait` and hold the event's own lock.
        threading.Thread(target=stop.set).start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    log.info("started")  # from here on a signal ends it in order
    if settings.metrics_port:
        start_http_server(
            settings.metrics_port, addr=settings.metrics_host, registry=sink_metrics.REGISTRY
        )
    clickhouse = ClickHouse(settings.clickhouse_url)
    try:
        if settings.kafka_servers:
            build = partial(
                KafkaSink,
                servers=settings.kafka_servers,
                group=settings.kafka_group,
                clickhouse=clickhouse,
                stop=stop,
            )
            run_through_outages(build, stop=stop)
        else:
            _run_spool(settings, clickhouse, stop)
    except StoppedError:
        log.info("stopped while ClickHouse was away")
    finally:
        clickhouse.close()


def run_through_outages(
    build: Callable[[], Runs], *, stop: threading.Event, again_s: float = AGAIN_AFTER_S
) -> None:
    """Run a sink, and a new one whenever Kafka fails it, until told to stop.

    A new one takes over as after a restart: what was noted is redone first.

    :raises StoppedError: when told to stop while ClickHouse is away.
    """
    while not stop.is_set():
        try:
            build().run()
        except KafkaError as error:
            log.warning("%s: %s; goes on in a moment", type(error).__name__, error)
            stop.wait(again_s)


def _run_spool(settings: SinkSettings, clickhouse: ClickHouse, stop: threading.Event) -> None:
    checkpoint = Checkpoint(settings.checkpoint_path)
    try:
        SpoolSink(
            spool_dir=settings.spool_dir, checkpoint=checkpoint, clickhouse=clickhouse, stop=stop
        ).run()
    finally:
        checkpoint.close()
