"""What the sink counts, in a registry of its own; served on a private port when one is set."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

REGISTRY: Final = CollectorRegistry()
EVENTS: Final = Counter("tollway_sink_events", "Lines put into the access log.", registry=REGISTRY)
INSERTS: Final = Counter(
    "tollway_sink_inserts", "Inserts that ClickHouse answered.", registry=REGISTRY
)
RETRIES: Final = Counter(
    "tollway_sink_retries", "Attempts repeated because no answer came.", registry=REGISTRY
)
DEAD_LETTERS: Final = Counter(
    "tollway_sink_dead_letters", "Lines put into the dead letters.", registry=REGISTRY
)
COVERED: Final = Counter(
    "tollway_sink_covered", "Lines dropped because they are in the log.", registry=REGISTRY
)
DROPPED: Final = Counter(
    "tollway_sink_dropped",
    "Lines beyond a gap, dropped for want of room; the shipper sends them again.",
    registry=REGISTRY,
)
BAD_MESSAGES: Final = Counter(
    "tollway_sink_bad_messages", "Kafka messages that are no whole block.", registry=REGISTRY
)
FENCED: Final = Counter(
    "tollway_sink_fenced", "Batches given up because the partition moved on.", registry=REGISTRY
)
WAITING: Final = Gauge(
    "tollway_sink_waiting_bytes", "Bytes of lines beyond a gap.", registry=REGISTRY
)
STUCK: Final = Gauge(
    "tollway_sink_stuck_streams", "Streams whose next line is not in the spool.", registry=REGISTRY
)
