"""The public door of metering: usage over `[start, end)`, the watermark and the proofs.

Read by usage pages, the REST API and the close of a period. Every answer says when it was taken
and up to which instant it is complete. Money reads one row per (stream, seq), never a view.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from metering.clickhouse import ClickHouse
from metering.core.values import (
    Dimension,
    ExpectedBoot,
    MeterUsage,
    RequestRow,
    StreamProof,
    Threshold,
    UsageFilter,
    UsageReport,
    UsageRow,
    Watermark,
)
from metering.reader import ClickHouseReader

__all__ = [
    "Dimension",
    "ExpectedBoot",
    "MeterUsage",
    "RequestRow",
    "StreamProof",
    "Threshold",
    "UsageFilter",
    "UsageReader",
    "UsageReport",
    "UsageRow",
    "Watermark",
    "connect",
]


class UsageReader(Protocol):
    """What portal and billing hold; `connect(url)` builds one over ClickHouse.

    Every method :raises MeteringUnavailableError: when ClickHouse does not answer in time and
    :raises QueryInvalidError: for a naive interval, one that ends before it starts, or a filter
    without an owner. `[t, t)` is a fair question; the answer is nothing.
    """

    def usage(self, where: UsageFilter, *, by: Sequence[Dimension] = ()) -> UsageReport: ...

    def requests(
        self, where: UsageFilter, *, limit: int = 100, before: datetime | None = None
    ) -> tuple[RequestRow, ...]: ...

    def request(self, *, organization_id: str, request_id: str) -> RequestRow | None: ...

    def meter_usage(
        self, *, subscription_id: str, environment: str, start: datetime, end: datetime
    ) -> tuple[MeterUsage, ...]:
        """Usage for money: one row per (stream, seq), grouped by meter, `[start, end)`."""
        ...

    def event_values(
        self, *, subscription_id: str, meter: str, start: datetime, end: datetime
    ) -> tuple[Decimal, ...]:
        """Billed values in order (admitted_at, stream, seq), for prices that need events."""
        ...

    def thresholds(self, *, since: datetime) -> tuple[Threshold, ...]: ...

    def watermark(self, *, expected: Sequence[ExpectedBoot], now: datetime) -> Watermark: ...

    def proofs(self) -> tuple[StreamProof, ...]: ...

    def dead_letters(self, *, start: datetime, end: datetime) -> int:
        """Unresolved dead letters that may touch `[start, end)`; they block a close."""
        ...

    def last_used(self, *, credential_ids: Sequence[str]) -> Mapping[str, datetime]: ...


def connect(url: str) -> UsageReader:
    """Build a reader over `http(s)://user:password@host:port/database`; it connects on first use.

    A read-only user is enough. One reader serves all threads of a process.
    """
    return ClickHouseReader(ClickHouse(url))
