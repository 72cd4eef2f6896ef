"""`UsageReader` over ClickHouse. SQL is fixed text; every value travels as a parameter."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from gateway.contracts.access_log import format_time
from metering.clickhouse import ClickHouse
from metering.core.completeness import Seal, StreamCount, fold_watermark, prove
from metering.core.usage import (
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
from metering.errors import QueryInvalidError

MAX_GROUPS: Final = 10_000
MAX_REQUESTS: Final = 1_000
_USAGE_KINDS: Final = "kind IN ('request', 'response_end', 'business')"
_GROUPS: Final[dict[Dimension, str]] = {
    **{dimension: f"toString({dimension.value})" for dimension in Dimension},
    Dimension.DAY: "toString(toDate(admitted_at))",
    Dimension.HOUR: "formatDateTime(toStartOfHour(admitted_at), '%Y-%m-%dT%H:00:00Z')",
    Dimension.METER: "arrayJoin(mapKeys(quantities))",
}
_BETWEEN: Final = (
    "admitted_at >= parseDateTime64BestEffort({start:String}, 6, 'UTC') "
    "AND admitted_at < parseDateTime64BestEffort({end:String}, 6, 'UTC')"
)
_ONCE: Final = "ORDER BY admitted_at, stream, seq LIMIT 1 BY stream, seq"
_TEXT_FILTERS: Final = (
    "organization_id", "subscription_id", "consumer_id", "credential_id", "api", "route",
)  # fmt: skip
_REQUEST_COLUMNS: Final = (
    "admitted_at, request_id, method, path_template, status, decision, toString(charge), "
    "charge_reason, quantities, latency_us, environment, api, route, credential_id, "
    "subscription_id, stream, seq"
)


def check_interval(start: datetime, end: datetime) -> dict[str, str]:
    """Return the bounds as query parameters.

    :raises QueryInvalidError: for naive instants or an interval that ends before it starts.
    """
    if start.utcoffset() is None or end.utcoffset() is None:
        raise QueryInvalidError("the interval has no time zone")
    if end < start:
        raise QueryInvalidError("the interval ends before it starts")
    return {"start": format_time(start), "end": format_time(end)}


def conditions(where: UsageFilter) -> tuple[str, dict[str, Any]]:
    """Turn a filter into a WHERE text and its parameters.

    :raises QueryInvalidError: when it names no owner and does not say `everyone`.
    """
    if not (where.everyone or where.organization_id or where.subscription_id):
        raise QueryInvalidError("the query names no organization")
    parameters: dict[str, Any] = check_interval(where.start, where.end)
    parameters["environment"] = where.environment
    parts = [_BETWEEN, "environment = {environment:String}"]
    for name in _TEXT_FILTERS:
        if value := getattr(where, name):
            parts.append(f"{name} = {{{name}:String}}")
            parameters[name] = value
    if where.status:
        parts.append("status = {status:UInt64}")
        parameters["status"] = where.status
    if where.charges:
        parts.append("toString(charge) IN {charges:Array(String)}")
        parameters["charges"] = [str(charge) for charge in where.charges]
    return " AND ".join(parts), parameters


def _decimals(quantities: Mapping[str, Any]) -> dict[str, Decimal]:
    return {meter: Decimal(str(units)) for meter, units in quantities.items()}


class ClickHouseReader:
    """Implements `UsageReader`; holds one client, which may be shared between threads."""

    def __init__(self, clickhouse: ClickHouse) -> None:
        self._clickhouse = clickhouse

    def usage(self, where: UsageFilter, *, by: Sequence[Dimension] = ()) -> UsageReport:
        rows = self._usage_rows(where, by)
        total = self._usage_rows(where, ())[0]
        newest = self._clickhouse.rows("SELECT max(admitted_at), count() FROM access_log")[0]
        return UsageReport(
            rows=tuple(rows),
            total=total,
            as_of=datetime.now(UTC),  # noqa: TID251 - the reading's own stamp, wall time
            newest_event_at=newest[0] if newest[1] else None,
        )

    def _usage_rows(self, where: UsageFilter, by: Sequence[Dimension]) -> list[UsageRow]:
        text, parameters = conditions(where)
        groups = ", ".join(f"{_GROUPS[dimension]} AS g{i}" for i, dimension in enumerate(by))
        names = ", ".join(f"g{i}" for i in range(len(by)))
        sql = (
            f"SELECT {groups + ', ' if by else ''}"  # noqa: S608 - fixed text only
            "countIf(kind != 'response_end'), sumMap(quantities), "
            "countIf(status >= 400 AND kind = 'request'), sum(request_bytes), "
            "sum(response_bytes), "
            "toUInt64(ifNotFinite(quantileIf(0.5)(latency_us, kind = 'request'), 0)), "
            "toUInt64(ifNotFinite(quantileIf(0.95)(latency_us, kind = 'request'), 0)) "
            f"FROM (SELECT * FROM access_log WHERE {_USAGE_KINDS} AND {text} {_ONCE})"
            + (f" GROUP BY {names} ORDER BY {names} LIMIT {MAX_GROUPS}" if by else "")
        )
        count = len(by)
        return [
            UsageRow(
                {dimension.name.lower(): str(row[i]) for i, dimension in enumerate(by)},
                int(row[count]),
                _decimals(row[count + 1]),
                *(int(value) for value in row[count + 2 :]),
            )
            for row in self._clickhouse.rows(sql, parameters)
        ]

    def requests(
        self, where: UsageFilter, *, limit: int = 100, before: datetime | None = None
    ) -> tuple[RequestRow, ...]:
        text, parameters = conditions(where)
        if before is not None:
            text += " AND admitted_at < parseDateTime64BestEffort({before:String}, 6, 'UTC')"
            parameters["before"] = format_time(before)
        sql = (
            f"SELECT {_REQUEST_COLUMNS} FROM access_log "  # noqa: S608 - fixed text only
            f"WHERE kind = 'request' AND {text} ORDER BY admitted_at DESC, stream, seq "
            f"LIMIT 1 BY stream, seq LIMIT {min(max(limit, 1), MAX_REQUESTS)}"
        )
        return tuple(_request_row(row) for row in self._clickhouse.rows(sql, parameters))

    def request(self, *, organization_id: str, request_id: str) -> RequestRow | None:
        sql = (
            f"SELECT {_REQUEST_COLUMNS} FROM access_log WHERE kind = 'request' "  # noqa: S608
            "AND organization_id = {organization:String} AND request_id = {request:String} LIMIT 1"
        )
        rows = self._clickhouse.rows(sql, {"organization": organization_id, "request": request_id})
        return _request_row(rows[0]) if rows else None

    def meter_usage(
        self, *, subscription_id: str, environment: str, start: datetime, end: datetime
    ) -> tuple[MeterUsage, ...]:
        parameters = {
            **check_interval(start, end),
            "subscription": subscription_id,
            "environment": environment,
        }
        sql = (
            "SELECT m, sumIf(units, charge = 'billed'), sumIf(units, charge = 'counted'), "  # noqa: S608
            "countIf(charge = 'billed'), "
            "arrayStringConcat(arraySort(groupArrayIf(concat(stream, ':', toString(seq)), "
            "charge = 'billed')), '\\n') FROM ("
            "SELECT stream, seq, charge, mapKeys(quantities) AS ms, mapValues(quantities) AS us "
            f"FROM access_log WHERE {_USAGE_KINDS} AND {_BETWEEN} "
            "AND subscription_id = {subscription:String} AND environment = {environment:String} "
            f"{_ONCE}) ARRAY JOIN ms AS m, us AS units GROUP BY m ORDER BY m"
        )
        return tuple(
            MeterUsage(
                meter, Decimal(str(billed)), Decimal(str(counted)), int(events),
                hashlib.sha256(str(ids).encode()).hexdigest(),
            )
            for meter, billed, counted, events, ids in self._clickhouse.rows(sql, parameters)
        )  # fmt: skip

    def event_values(
        self, *, subscription_id: str, meter: str, start: datetime, end: datetime
    ) -> tuple[Decimal, ...]:
        parameters = {
            **check_interval(start, end),
            "subscription": subscription_id,
            "meter": meter,
        }
        sql = (
            "SELECT quantities[{meter:String}] FROM (SELECT * FROM access_log "  # noqa: S608
            f"WHERE {_USAGE_KINDS} AND {_BETWEEN} AND charge = 'billed' "
            "AND subscription_id = {subscription:String} AND environment = 'live' "
            f"AND mapContains(quantities, {{meter:String}}) {_ONCE}) "
            "ORDER BY admitted_at, stream, seq"
        )
        return tuple(Decimal(str(row[0])) for row in self._clickhouse.rows(sql, parameters))

    def thresholds(self, *, since: datetime) -> tuple[Threshold, ...]:
        sql = (
            "SELECT admitted_at, organization_id, subscription_id, meter, window_start, "
            "window_end, percent FROM access_log "
            "WHERE kind = 'threshold' AND environment = 'live' "
            "AND admitted_at >= parseDateTime64BestEffort({since:String}, 6, 'UTC') "
            "ORDER BY admitted_at, stream, seq LIMIT 1 BY stream, seq LIMIT 10000"
        )
        return tuple(
            Threshold(*row) for row in self._clickhouse.rows(sql, {"since": format_time(since)})
        )

    def watermark(self, *, expected: Sequence[ExpectedBoot], now: datetime) -> Watermark:
        return fold_watermark(self.proofs(), expected, now=now)

    def proofs(self) -> tuple[StreamProof, ...]:
        return tuple(prove(_stream_count(row)) for row in self._clickhouse.rows(_PROOFS))

    def dead_letters(self, *, start: datetime, end: datetime) -> int:
        sql = (
            "SELECT count() FROM dead_letter FINAL WHERE resolved_at IS NULL "  # noqa: S608
            f"AND (admitted_at IS NULL OR ({_BETWEEN}))"
        )
        return int(self._clickhouse.rows(sql, check_interval(start, end))[0][0])

    def last_used(self, *, credential_ids: Sequence[str]) -> Mapping[str, datetime]:
        if not credential_ids:
            return {}
        sql = (
            "SELECT credential_id, max(admitted_at) FROM access_log WHERE kind = 'request' "
            "AND credential_id IN {credentials:Array(String)} GROUP BY credential_id"
        )
        rows = self._clickhouse.rows(sql, {"credentials": list(credential_ids)})
        return {str(credential): at for credential, at in rows}


_PROOFS: Final = """
    SELECT stream, any(node), arrayFirstIndex((s, i) -> s != i, seqs, arrayEnumerate(seqs)) AS gap,
        arraySort(groupUniqArray(seq)) AS seqs, count() AS raw, countIf(dead), groupUniqArrayIf(
        (last_seq, complete_through, final), kind = 'seal')
    FROM (
        SELECT stream, seq, node, toString(kind) AS kind, last_seq,
            ifNull(complete_through, toDateTime64(0, 6, 'UTC')) AS complete_through, final,
            false AS dead
        FROM access_log
        UNION ALL
        SELECT stream, seq, '', '', 0, toDateTime64(0, 6, 'UTC'), false, true
        FROM dead_letter FINAL
    )
    GROUP BY stream ORDER BY stream
"""


def _stream_count(row: Sequence[Any]) -> StreamCount:
    stream, node, gap, seqs, raw, dead, seals = row
    return StreamCount(
        stream=stream,
        node=node or stream.rsplit(".", 2)[0],
        contiguous=int(gap) - 1 if gap else len(seqs),
        highest=int(seqs[-1]),
        distinct=len(seqs),
        rows=int(raw),
        dead_letters=int(dead),
        seals=tuple(Seal(int(seq), at, bool(final)) for seq, at, final in seals),
    )


def _request_row(row: Sequence[Any]) -> RequestRow:
    values = list(row)
    values[8] = _decimals(values[8])
    return RequestRow(*values)
