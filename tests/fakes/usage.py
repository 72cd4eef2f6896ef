"""A usage reader in memory: events with an instant, and a watermark that a test sets."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from gateway.contracts.access_log import Charge
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
class FakeEvent:
    at: datetime
    subscription_id: str
    meter: str
    units: Decimal
    charge: Charge = Charge.BILLED


@dataclass
class FakeUsageReader:
    """Satisfies `metering.queries.UsageReader`; `on_read` lets a test step in between."""

    complete_to: datetime | None = None
    events: list[FakeEvent] = field(default_factory=list)
    crossings: list[Threshold] = field(default_factory=list)
    letters: int = 0
    on_read: Callable[[], None] | None = None

    def add(
        self,
        subscription_id: str,
        at: datetime,
        units: int | str,
        *,
        meter: str = "requests",
        charge: Charge = Charge.BILLED,
    ) -> None:
        self.events.append(FakeEvent(at, subscription_id, meter, Decimal(units), charge))

    def usage(self, where: UsageFilter, *, by: Sequence[Dimension] = ()) -> UsageReport:
        rows = [
            e
            for e in self.events
            if where.start <= e.at < where.end
            and where.subscription_id in ("", e.subscription_id)
            and (not where.charges or e.charge in where.charges)
        ]
        groups: dict[tuple[str, ...], list[FakeEvent]] = {}
        for event in rows:
            groups.setdefault(tuple(_value(event, d) for d in by), []).append(event)
        names = [d.value for d in by]
        return UsageReport(
            rows=tuple(
                _row(dict(zip(names, key, strict=True)), groups[key]) for key in sorted(groups)
            ),
            total=_row({}, rows),
            as_of=where.end,
            newest_event_at=max((e.at for e in rows), default=None),
        )

    def requests(
        self, where: UsageFilter, *, limit: int = 100, before: datetime | None = None
    ) -> tuple[RequestRow, ...]:
        return ()

    def request(self, *, organization_id: str, request_id: str) -> RequestRow | None:
        return None

    def _of(self, subscription_id: str, start: datetime, end: datetime) -> list[FakeEvent]:
        rows = [
            e for e in self.events if e.subscription_id == subscription_id and start <= e.at < end
        ]
        return sorted(rows, key=lambda e: e.at)

    def meter_usage(
        self, *, subscription_id: str, environment: str, start: datetime, end: datetime
    ) -> tuple[MeterUsage, ...]:
        if self.on_read is not None:
            step, self.on_read = self.on_read, None
            step()
        rows = self._of(subscription_id, start, end)
        found = []
        for meter in sorted({e.meter for e in rows}):
            mine = [e for e in rows if e.meter == meter]
            billed = [e for e in mine if e.charge is Charge.BILLED]
            ids = "\n".join(f"{e.at.isoformat()}:{e.units}" for e in billed)
            found.append(
                MeterUsage(
                    meter=meter,
                    billed=sum((e.units for e in billed), Decimal(0)),
                    counted=sum((e.units for e in mine if e.charge is Charge.COUNTED), Decimal(0)),
                    events=len(billed),
                    id_hash=hashlib.sha256(ids.encode()).hexdigest(),
                )
            )
        return tuple(found)

    def event_values(
        self, *, subscription_id: str, meter: str, start: datetime, end: datetime
    ) -> tuple[Decimal, ...]:
        rows = self._of(subscription_id, start, end)
        return tuple(e.units for e in rows if e.meter == meter and e.charge is Charge.BILLED)

    def thresholds(self, *, since: datetime) -> tuple[Threshold, ...]:
        return tuple(c for c in self.crossings if c.crossed_at >= since)

    def watermark(self, *, expected: Sequence[ExpectedBoot], now: datetime) -> Watermark:
        held = {} if self.complete_to is None or self.complete_to >= now else {"n1": "silent"}
        return Watermark(self.complete_to, held)

    def proofs(self) -> tuple[StreamProof, ...]:
        return ()

    def dead_letters(self, *, start: datetime, end: datetime) -> int:
        return self.letters

    def last_used(self, *, credential_ids: Sequence[str]) -> Mapping[str, datetime]:
        return {}


def _value(event: FakeEvent, dimension: Dimension) -> str:
    match dimension:
        case Dimension.DAY:
            return f"{event.at:%Y-%m-%d}"
        case Dimension.METER:
            return event.meter
        case Dimension.CHARGE:
            return event.charge.value
        case _:
            return ""


def _row(group: Mapping[str, str], events: Sequence[FakeEvent]) -> UsageRow:
    quantities: dict[str, Decimal] = {}
    for event in events:
        quantities[event.meter] = quantities.get(event.meter, Decimal(0)) + event.units
    return UsageRow(
        group=group,
        events=len(events),
        quantities=quantities,
        errors=0,
        request_bytes=0,
        response_bytes=0,
        latency_p50_us=0,
        latency_p95_us=0,
    )
