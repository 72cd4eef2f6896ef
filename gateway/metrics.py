"""What the gateway counts about itself, for the private port's `/metrics`.

The hot path adds to plain dicts; the Prometheus families are made when someone asks. Also here is
the auth log: refusals before a credential is known, bounded, in memory.
"""

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0)
_BOUNDS_US: Final = tuple(int(bound * 1_000_000) for bound in BUCKETS_S)
MAX_AUTH_ENTRIES: Final = 10_000


Figure = tuple[str, Callable[[], float]]
"""What a figure says, and how it is read."""


class Histogram:
    """Durations in microseconds, counted into fixed buckets."""

    __slots__ = ("counts", "total_us")

    def __init__(self) -> None:
        self.counts = [0] * (len(_BOUNDS_US) + 1)
        self.total_us = 0

    def add(self, duration_us: int) -> None:
        self.counts[bisect_left(_BOUNDS_US, duration_us)] += 1
        self.total_us += duration_us

    def family(self, name: str, text: str) -> HistogramMetricFamily:
        family = HistogramMetricFamily(name, text)
        running, buckets = 0, []
        for bound, count in zip((*map(str, BUCKETS_S), "+Inf"), self.counts, strict=True):
            running += count
            buckets.append((bound, running))
        family.add_metric([], buckets, self.total_us / 1_000_000)
        return family


@dataclass(frozen=True, slots=True)
class AuthEntry:
    """A refusal before a credential was known; `shown` is the displayable start of a key."""

    at_us: int
    client_ip: str
    target_path: str
    code: str
    reason: str
    shown: str


class Stats:
    """Counters of one worker. `gauges` and `counters` are read at scrape time."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, int]] = Counter()  # route, decision, status
        self.refused_unknown: Counter[str] = Counter()  # code
        self.throttles: Counter[str] = Counter()  # policy
        self.upstream_failures: Counter[tuple[str, str]] = Counter()  # route, code
        self.quota_store_down = 0
        self.fail_open = 0
        self.policy_errors = 0
        self.snapshots_refused = 0
        self.request_bytes = 0
        self.response_bytes = 0
        self.in_flight = 0
        self.latency = Histogram()
        self.upstream_latency = Histogram()
        self.auth_log: deque[AuthEntry] = deque(maxlen=MAX_AUTH_ENTRIES)
        self.gauges: dict[str, Figure] = {}
        self.counters: dict[str, Figure] = {}

    def collect(self) -> Iterator[Metric]:
        """Yield the Prometheus families (the collector protocol of `prometheus_client`)."""
        labelled = CounterMetricFamily(
            "tollway_requests", "Requests answered", labels=["route", "decision", "status"]
        )
        for (route, decision, status), count in self.requests.items():
            labelled.add_metric([route, decision, str(status)], count)
        yield labelled
        yield _by_label("tollway_refused_unknown", "Refused before a credential was known",
                        "code", self.refused_unknown)  # fmt: skip
        yield _by_label("tollway_throttled", "Refused by a limit", "policy", self.throttles)
        failures = CounterMetricFamily(
            "tollway_upstream_failures", "Upstream calls that failed", labels=["route", "code"]
        )
        for (route, code), count in self.upstream_failures.items():
            failures.add_metric([route, code], count)
        yield failures
        yield from self._plain()
        yield self.latency.family("tollway_latency_seconds", "Admission to first byte")
        yield self.upstream_latency.family("tollway_upstream_latency_seconds", "Upstream's share")

    def _plain(self) -> Iterator[Metric]:
        counters = {
            "tollway_quota_store_down": ("Quota store away", self.quota_store_down),
            "tollway_fail_open": ("Let through without quota", self.fail_open),
            "tollway_policy_errors": ("Answers 500 policy_error", self.policy_errors),
            "tollway_snapshots_refused": ("Snapshots refused", self.snapshots_refused),
            "tollway_request_bytes": ("Body bytes received", self.request_bytes),
            "tollway_response_bytes": ("Body bytes sent", self.response_bytes),
        }
        for name, (text, count) in counters.items():
            yield CounterMetricFamily(name, text, value=count)
        yield GaugeMetricFamily("tollway_in_flight", "Requests in flight", value=self.in_flight)
        for name, (text, read) in self.counters.items():
            yield CounterMetricFamily(name, text, value=read())
        for name, (text, read) in self.gauges.items():
            yield GaugeMetricFamily(name, text, value=read())


def _by_label(name: str, text: str, label: str, counts: Counter[str]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=[label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family
