"""The values of the usage door: what is asked, what comes back. Callers take them from
`metering.queries`; here they are pure, so that the completeness fold can use them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from gateway.contracts.access_log import Charge


class Dimension(StrEnum):
    """What usage can be grouped by; the values are columns, `day` and `hour` are UTC."""

    DAY = "day"
    HOUR = "hour"
    API = "api"
    ROUTE = "route"
    STATUS = "status"
    CREDENTIAL = "credential_id"
    CONSUMER = "consumer_id"
    SUBSCRIPTION = "subscription_id"
    ORGANIZATION = "organization_id"
    METER = "meter"
    CHARGE = "charge"
    DECISION = "decision"


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageFilter:
    """What to count. Empty = no condition; at least one of organization, subscription or
    `everyone` must be set, so that no query reads another customer by accident.

    start, end     admission time, aware UTC, half-open
    charges        events with these charges only; empty = all, refusals included
    """

    start: datetime
    end: datetime
    environment: str = "live"
    organization_id: str = ""
    subscription_id: str = ""
    everyone: bool = False
    consumer_id: str = ""
    credential_id: str = ""
    api: str = ""
    route: str = ""
    status: int = 0
    charges: tuple[Charge, ...] = ()


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One group. `events` counts requests (refused ones included where the filter lets them)."""

    group: Mapping[str, str]  # dimension value -> text, in the order asked for
    events: int
    quantities: Mapping[str, Decimal]  # meter -> units
    errors: int  # status >= 400
    request_bytes: int
    response_bytes: int
    latency_p50_us: int
    latency_p95_us: int


@dataclass(frozen=True, slots=True)
class UsageReport:
    rows: tuple[UsageRow, ...]
    total: UsageRow
    as_of: datetime  # wall time of the reading
    newest_event_at: datetime | None  # the latest admission seen, for "lag"


@dataclass(frozen=True, slots=True)
class RequestRow:
    """One request of the log, as its owner may see it."""

    admitted_at: datetime
    request_id: str
    method: str
    path_template: str
    status: int
    decision: str
    charge: str
    charge_reason: str
    quantities: Mapping[str, Decimal]
    latency_us: int
    environment: str
    api: str
    route: str
    credential_id: str
    subscription_id: str
    stream: str
    seq: int


@dataclass(frozen=True, slots=True)
class MeterUsage:
    """A meter's usage of one segment or period, with the evidence a snapshot freezes.

    billed, counted   units; billed is what prices read
    events            billed events
    id_hash           SHA-256 over `stream:seq⏎` of the billed events in (stream, seq) order, hex
    """

    meter: str
    billed: Decimal
    counted: Decimal
    events: int
    id_hash: str


@dataclass(frozen=True, slots=True)
class ExpectedBoot:
    """A start of a gateway node that the portal knows of.

    written_off   `node_write_off` was run: this boot no longer holds the watermark back
    retired       the node said goodbye; its streams must still be proven to their end
    """

    node: str
    boot: str
    worker: int
    opened_at: datetime
    retired: bool = False
    written_off: bool = False


@dataclass(frozen=True, slots=True)
class StreamProof:
    """Completeness of one stream.

    proven_through   last_seq of the newest proven seal (0 = none)
    complete_through that seal's instant
    received         distinct seqs in log and dead letters
    missing          seqs known to exist (a later one was seen) that are not there
    duplicates       raw rows beyond one per seq; reported, they break nothing
    dead_letters     unresolved ones
    ended            a final seal is the last line of the stream, and proven
    first_admitted_at  the stream's first admission, only while no seal is proven
    """

    stream: str
    node: str
    proven_through: int
    complete_through: datetime | None
    last_seq_seen: int
    received: int
    missing: int
    duplicates: int
    dead_letters: int
    ended: bool
    first_admitted_at: datetime | None = None

    @property
    def complete(self) -> bool:
        return self.missing == 0


@dataclass(frozen=True, slots=True)
class Watermark:
    """The instant up to which usage is complete, and who holds it back.

    at         None = nothing is proven yet by an expected node
    held_by    streams or boots behind `at`, with the reason, for the operations page
    """

    at: datetime | None
    held_by: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Threshold:
    """A quota percentage that the gateway saw crossed."""

    crossed_at: datetime
    organization_id: str
    subscription_id: str
    meter: str
    window_start: datetime
    window_end: datetime
    percent: int
