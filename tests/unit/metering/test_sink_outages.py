"""The sink lives through an outage of Kafka: a new one takes over when Kafka fails it."""

import threading

from kafka.errors import KafkaTimeoutError

from metering.sink import run_through_outages


class Sink:
    """Fails as often as it is told, then runs until it is stopped."""

    def __init__(self, failures: list[str], stop: threading.Event) -> None:
        self._failures, self._stop = failures, stop

    def run(self) -> None:
        if self._failures:
            raise KafkaTimeoutError(self._failures.pop())
        self._stop.set()


def test_kafka_errors_make_a_new_sink() -> None:
    stop, failures, built = threading.Event(), ["metadata", "committed"], list[Sink]()

    def build() -> Sink:
        built.append(Sink(failures, stop))
        if len(built) == 1:
            raise KafkaTimeoutError("bootstrap")
        return built[-1]

    run_through_outages(build, stop=stop, again_s=0)
    assert len(built) == 4
    assert failures == []


def test_a_stop_ends_the_waiting() -> None:
    stop = threading.Event()

    def build() -> Sink:
        stop.set()
        raise KafkaTimeoutError("bootstrap")

    run_through_outages(build, stop=stop, again_s=60)
