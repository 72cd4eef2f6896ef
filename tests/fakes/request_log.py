"""A usage reader over a list of requests in memory: filters, groups and sums like the real one.

For pages that show requests. What money needs (`meter_usage`, `event_values`) is read from the
same rows; proofs and dead letters are empty.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from gateway.contracts.access_log import Charge
from metering.errors import MeteringUnavailableError, QueryInvalidError
from metering.queries import (
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


@dataclass(frozen=True)
class Recorded:
    """A request with what the log's row does not carry: its organization."""

    organization_id: str
    row: RequestRow


@dataclass
class FakeRequestLog:
    """Satisfies `metering.queries.UsageReader`; `down=True` makes every question fail."""

    now: datetime
    recorded: list[Recorded] = field(default_factory=list)
    down: bool = False

    def add(
        self,
        organization_id: str,
        *,
        at: datetime,
        credential_id: str = "",
        environment: str = "live",
        status: int = 200,
        decision: str = "allow",
        charge: Charge = Charge.BILLED,
        reason: str = "2xx",
        route: str = "countries",
        units: int = 1,
        latency_us: int = 12_400,
        request_id: str = "",
    ) -> RequestRow:
        seq = len(self.recorded) + 1
        row = RequestRow(
            admitted_at=at,
            request_id=request_id or f"req_{seq:026d}",
            method="GET",
            path_template=f"/v1/{route}",
            status=status,
            decision=decision,
            charge=charge.value,
            charge_reason=reason,
            # a free answer of the API keeps what it would have cost; a refusal took nothing
            quantities={} if reason.endswith("refused") else {"requests": Decimal(units)},
            latency_us=latency_us,
            environment=environment,
            api="world",
            route=route,
            credential_id=credential_id,
            subscription_id="" if environment == "test" else "sub_1",
            stream="node-1-boot-1-0",
            seq=seq,
        )
        self.recorded.append(Recorded(organization_id, row))
        return row

    def _matching(self, where: UsageFilter) -> list[RequestRow]:
        if self.down:
            raise MeteringUnavailableError
        if not (where.organization_id or where.subscription_id or where.everyone):
            raise QueryInvalidError
        wanted = (
            ("credential_id", where.credential_id),
            ("api", where.api),
            ("route", where.route),
            ("status", where.status),
            ("environment", where.environment),
            ("subscription_id", where.subscription_id),
        )
        rows = [
            found.row
            for found in self.recorded
            if where.organization_id in ("", found.organization_id)
            and where.start <= found.row.admitted_at < where.end
            and (not where.charges or Charge(found.row.charge) in where.charges)
            and all(getattr(found.row, name) == value for name, value in wanted if value)
        ]
        return sorted(rows, key=lambda row: (row.admitted_at, row.seq), reverse=True)

    def usage(self, where: UsageFilter, *, by: Sequence[Dimension] = ()) -> UsageReport:
        rows = self._matching(where)
        groups: dict[tuple[str, ...], list[RequestRow]] = {}
        for row in rows:
            groups.setdefault(tuple(_VALUE[d](row) for d in by), []).append(row)
        return UsageReport(
            rows=tuple(
                _sum(dict(zip(by, key, strict=True)), groups[key]) for key in sorted(groups)
            ),
            total=_sum({}, rows),
            as_of=self.now,
            newest_event_at=rows[0].admitted_at if rows else None,
        )

    def requests(
        self, where: UsageFilter, *, limit: int = 100, before: datetime | None = None
    ) -> tuple[RequestRow, ...]:
        rows = self._matching(where)
        return tuple(r for r in rows if before is None or r.admitted_at < before)[:limit]

    def request(self, *, organization_id: str, request_id: str) -> RequestRow | None:
        if self.down:
            raise MeteringUnavailableError
        for found in self.recorded:
            if (found.organization_id, found.row.request_id) == (organization_id, request_id):
                return found.row
        return None

    def meter_usage(
        self, *, subscription_id: str, environment: str, start: datetime, end: datetime
    ) -> tuple[MeterUsage, ...]:
        where = UsageFilter(
            start=start, end=end, environment=environment, subscription_id=subscription_id
        )
        rows = self._matching(where)
        billed = [row for row in rows if row.charge == Charge.BILLED]
        counted = [row for row in rows if row.charge == Charge.COUNTED]
        ordered = sorted(billed, key=lambda row: (row.stream, row.seq))
        ids = "".join(f"{row.stream}:{row.seq}\n" for row in ordered)
        return (
            MeterUsage(
                meter="requests",
                billed=sum((r.quantities["requests"] for r in billed), Decimal(0)),
                counted=sum((r.quantities["requests"] for r in counted), Decimal(0)),
                events=len(billed),
                id_hash=hashlib.sha256(ids.encode()).hexdigest(),
            ),
        )

    def event_values(
        self, *, subscription_id: str, meter: str, start: datetime, end: datetime
    ) -> tuple[Decimal, ...]:
        rows = self._matching(UsageFilter(start=start, end=end, subscription_id=subscription_id))
        billed = [row for row in reversed(rows) if row.charge == Charge.BILLED]
        return tuple(row.quantities[meter] for row in billed if meter in row.quantities)

    def thresholds(self, *, since: datetime) -> tuple[Threshold, ...]:
        return ()

    def watermark(self, *, expected: Sequence[ExpectedBoot], now: datetime) -> Watermark:
        return Watermark(self.now)

    def proofs(self) -> tuple[StreamProof, ...]:
        return ()

    def dead_letters(self, *, start: datetime, end: datetime) -> int:
        return 0

    def last_used(self, *, credential_ids: Sequence[str]) -> Mapping[str, datetime]:
        if self.down:
            raise MeteringUnavailableError
        latest: dict[str, datetime] = {}
        for found in self.recorded:
            key = found.row.credential_id
            if key in credential_ids:
                latest[key] = max(found.row.admitted_at, latest.get(key, found.row.admitted_at))
        return latest


_VALUE: Mapping[Dimension, Callable[[RequestRow], str]] = {
    Dimension.DAY: lambda row: f"{row.admitted_at:%Y-%m-%d}",
    Dimension.HOUR: lambda row: f"{row.admitted_at:%Y-%m-%dT%H:00:00Z}",
    Dimension.API: lambda row: row.api,
    Dimension.ROUTE: lambda row: row.route,
    Dimension.STATUS: lambda row: str(row.status),
    Dimension.CREDENTIAL: lambda row: row.credential_id,
    Dimension.CHARGE: lambda row: row.charge,
    Dimension.DECISION: lambda row: row.decision,
}


def _sum(group: Mapping[str, str], rows: Sequence[RequestRow]) -> UsageRow:
    quantities: dict[str, Decimal] = {}
    for row in rows:
        for meter, units in row.quantities.items():
            quantities[meter] = quantities.get(meter, Decimal(0)) + units
    latencies = sorted(row.latency_us for row in rows) or [0]
    return UsageRow(
        group=group,
        events=len(rows),
        quantities=quantities,
        errors=sum(1 for row in rows if row.status >= 400),
        request_bytes=0,
        response_bytes=0,
        latency_p50_us=latencies[len(latencies) // 2],
        latency_p95_us=latencies[len(latencies) * 95 // 100],
    )
