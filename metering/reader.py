"""`UsageReader` over ClickHouse: the questions of `metering.queries` as SQL.

Text is put together from the constants of this module alone; whatever comes from a caller is bound
by the server. One row per (stream, seq) everywhere, by `LIMIT 1 BY`: the engine's own replacing
merges in the background, and never across partitions.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from string import Template
from typing import Any, Final

from gateway.contracts.access_log import format_decimal, format_time
from metering.clickhouse import ClickHouse
from metering.core.completeness import watermark
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
from metering.errors import QueryInvalidError
from metering.proofs import read_proofs

GROUPS_MAX: Final = 10_000
REQUESTS_MAX: Final = 1_000
THRESHOLDS_MAX: Final = 10_000
EVENT_VALUES_MAX: Final = 5_000_000

_GROUPED_BY: Final[Mapping[Dimension, str]] = {
    Dimension.DAY: "formatDateTime(admitted_at, '%F', 'UTC')",
    Dimension.HOUR: "formatDateTime(admitted_at, '%FT%H:00:00Z', 'UTC')",
    Dimension.API: "api",
    Dimension.ROUTE: "route",
    Dimension.STATUS: "toString(status)",
    Dimension.CREDENTIAL: "credential_id",
    Dimension.CONSUMER: "consumer_id",
    Dimension.SUBSCRIPTION: "subscription_id",
    Dimension.ORGANIZATION: "organization_id",
    Dimension.METER: "one_meter",
    Dimension.CHARGE: "toString(charge)",
    Dimension.DECISION: "tupleElement(hit, 1)",
}
_HITS: Final = """
    if(kind = 'refusals', arrayZip(CAST(mapKeys(refusals), 'Array(String)'), mapValues(refusals)),
        [(toString(decision), toUInt64(kind = 'request'))])
"""
"""(decision, requests) of a row: one request, or a second's refusals by their reason."""
_ALL_HITS: Final = """
    [('', if(kind = 'refusals', arraySum(mapValues(refusals)), toUInt64(kind = 'request')))]
"""
_USAGE: Final = Template("""
SELECT $groups AS grouped,
    sum(tupleElement(hit, 2)),
    CAST(sumMap($quantities), 'Map(String, Decimal(38, 12))'),
    sumIf(tupleElement(hit, 2), status >= 400 OR kind = 'refusals'),
    sum(request_bytes), sum(response_bytes),
    quantileTDigestIf(0.5)(latency_us, kind = 'request'),
    quantileTDigestIf(0.95)(latency_us, kind = 'request'),
    maxOrNull(admitted_at)
FROM (
    SELECT * FROM access_log
    WHERE $where AND kind IN ('request', 'response_end', 'business', 'refusals')
    LIMIT 1 BY stream, seq
)
ARRAY JOIN $hits AS hit $meters
GROUP BY grouped
ORDER BY grouped
LIMIT {groups_max:UInt64}
""")
_REQUESTS: Final = Template("""
SELECT admitted_at, request_id, toString(method), path_template, status, toString(decision),
    toString(charge), charge_reason, CAST(quantities, 'Map(String, Decimal(38, 12))'), latency_us,
    environment, api, route, credential_id, subscription_id, stream, seq
FROM access_log
WHERE $where AND kind = 'request'
ORDER BY admitted_at DESC, stream DESC, seq DESC
LIMIT 1 BY stream, seq
LIMIT {rows_max:UInt64}
""")
_BILLABLE: Final = """
    SELECT toString(stream) AS stream, seq, admitted_at, charge, quantities FROM access_log
    WHERE subscription_id = {subscription_id:String} AND environment = {environment:String}
        AND admitted_at >= {start:DateTime64(6, 'UTC')}
        AND admitted_at < {end:DateTime64(6, 'UTC')}
        AND kind IN ('request', 'response_end', 'business') AND charge IN ('billed', 'counted')
    LIMIT 1 BY stream, seq
"""
"""Money: what may bill, once per event. Seals, thresholds and refusals carry no usage."""
_METER_USAGE: Final = Template("""
SELECT toString(meter), sumIf(units, charge = 'billed'), sumIf(units, charge = 'counted'),
    countIf(charge = 'billed')
FROM ($billable)
ARRAY JOIN mapKeys(quantities) AS meter, mapValues(quantities) AS units
GROUP BY meter ORDER BY meter
""").substitute(billable=_BILLABLE)
_BILLED_IDS: Final = Template("""
SELECT concat(stream, ':', toString(seq)) FROM ($billable)
WHERE charge = 'billed' AND mapContains(quantities, {meter:String})
ORDER BY stream, seq
""").substitute(billable=_BILLABLE)
_EVENT_VALUES: Final = Template("""
SELECT quantities[{meter:String}] FROM ($billable)
WHERE charge = 'billed' AND mapContains(quantities, {meter:String})
ORDER BY admitted_at, stream, seq
LIMIT {rows_max:UInt64}
""").substitute(billable=_BILLABLE)
_THRESHOLDS: Final = """
SELECT admitted_at, organization_id, subscription_id, meter, window_start, window_end, percent
FROM access_log
WHERE kind = 'threshold' AND environment = 'live'
    AND admitted_at >= {since:DateTime64(6, 'UTC')}
ORDER BY admitted_at, stream, seq
LIMIT 1 BY stream, seq
LIMIT {rows_max:UInt64}
"""
_DEAD_LETTERS: Final = """
SELECT count() FROM dead_letter FINAL
WHERE resolved_at IS NULL AND (admitted_at IS NULL OR (
    admitted_at >= {start:DateTime64(6, 'UTC')} AND admitted_at < {end:DateTime64(6, 'UTC')}))
"""
_LAST_USED: Final = """
SELECT credential_id, max(admitted_at) FROM access_log
WHERE credential_id IN {credential_ids:Array(String)} AND kind IN ('request', 'business')
GROUP BY credential_id
"""


class ClickHouseReader:
    """Answers `UsageReader`; see there for each method."""

    def __init__(self, clickhouse: ClickHouse) -> None:
        self._clickhouse = clickhouse

    def usage(self, where: UsageFilter, *, by: Sequence[Dimension] = ()) -> UsageReport:
        total, newest = self._total(where)
        rows = tuple(self._grouped(where, by)) if by else (total,)
        as_of = self._clickhouse.rows("SELECT now64(6, 'UTC')")[0][0]
        return UsageReport(rows, total, as_of, newest)

    def _total(self, where: UsageFilter) -> tuple[UsageRow, datetime | None]:
        answer = self._usage_rows(where, ())
        if not answer:
            return UsageRow({}, 0, {}, 0, 0, 0, 0, 0), None
        return _usage_row(answer[0], ()), answer[0][8]

    def _grouped(self, where: UsageFilter, by: Sequence[Dimension]) -> Iterable[UsageRow]:
        answer = self._usage_rows(where, by)
        if len(answer) > GROUPS_MAX:
            msg = f"more than {GROUPS_MAX} groups; ask for a shorter interval or fewer dimensions"
            raise QueryInvalidError(msg)
        return (_usage_row(row, by) for row in answer)

    def _usage_rows(self, where: UsageFilter, by: Sequence[Dimension]) -> Sequence[Sequence[Any]]:
        conditions, parameters = _conditions(where)
        groups = ", ".join(f"toString({_GROUPED_BY[dimension]})" for dimension in by)
        per_meter = Dimension.METER in by
        sql = _USAGE.substitute(
            groups=f"[{groups}]" if by else "emptyArrayString()",
            quantities="map(one_meter, quantities[one_meter])" if per_meter else "quantities",
            hits=_HITS if Dimension.DECISION in by else _ALL_HITS,
            meters="ARRAY JOIN mapKeys(quantities) AS one_meter" if per_meter else "",
            where=conditions,
        )
        return self._clickhouse.rows(sql, {**parameters, "groups_max": GROUPS_MAX + 1})

    def requests(
        self, where: UsageFilter, *, limit: int = 100, before: datetime | None = None
    ) -> tuple[RequestRow, ...]:
        conditions, parameters = _conditions(where)
        if before is not None:
            conditions += " AND admitted_at < {before:DateTime64(6, 'UTC')}"
            parameters["before"] = _aware(before)
        parameters["rows_max"] = max(1, min(limit, REQUESTS_MAX))
        rows = self._clickhouse.rows(_REQUESTS.substitute(where=conditions), parameters)
        return tuple(_request_row(row) for row in rows)

    def request(self, *, organization_id: str, request_id: str) -> RequestRow | None:
        if not organization_id or not request_id:
            return None
        rows = self._clickhouse.rows(
            _REQUESTS.substitute(
                where="organization_id = {organization_id:String}"
                " AND request_id = {request_id:String}"
            ),
            {"organization_id": organization_id, "request_id": request_id, "rows_max": 1},
        )
        return _request_row(rows[0]) if rows else None

    def meter_usage(
        self, *, subscription_id: str, environment: str, start: datetime, end: datetime
    ) -> tuple[MeterUsage, ...]:
        parameters = _period(subscription_id, environment, start, end)
        return tuple(
            MeterUsage(
                meter, _plain(billed), _plain(counted), events, self._id_hash(parameters, meter)
            )
            for meter, billed, counted, events in self._clickhouse.rows(_METER_USAGE, parameters)
        )

    def _id_hash(self, parameters: Mapping[str, Any], meter: str) -> str:
        digest = sha256()
        for chunk in self._clickhouse.chunks(
            _BILLED_IDS, {**parameters, "meter": meter}, output_format="TSVRaw"
        ):
            digest.update(chunk)
        return digest.hexdigest()

    def event_values(
        self, *, subscription_id: str, meter: str, start: datetime, end: datetime
    ) -> tuple[Decimal, ...]:
        parameters = _period(subscription_id, "live", start, end)
        blocks = self._clickhouse.row_blocks(
            _EVENT_VALUES, {**parameters, "meter": meter, "rows_max": EVENT_VALUES_MAX + 1}
        )
        values = tuple(_plain(row[0]) for block in blocks for row in block)
        if len(values) > EVENT_VALUES_MAX:
            msg = f"more than {EVENT_VALUES_MAX} events; price this meter by its sum"
            raise QueryInvalidError(msg)
        return values

    def thresholds(self, *, since: datetime) -> tuple[Threshold, ...]:
        rows = self._clickhouse.rows(
            _THRESHOLDS, {"since": _aware(since), "rows_max": THRESHOLDS_MAX}
        )
        return tuple(Threshold(*row) for row in rows)

    def watermark(self, *, expected: Sequence[ExpectedBoot], now: datetime) -> Watermark:
        return watermark(proofs=self.proofs(), expected=expected, now=_aware(now))

    def proofs(self) -> tuple[StreamProof, ...]:
        return read_proofs(self._clickhouse)

    def dead_letters(self, *, start: datetime, end: datetime) -> int:
        _check_interval(start, end)
        rows = self._clickhouse.rows(_DEAD_LETTERS, {"start": start, "end": end})
        return int(rows[0][0])

    def last_used(self, *, credential_ids: Sequence[str]) -> Mapping[str, datetime]:
        if not credential_ids:
            return {}
        names = {"credential_ids": list(credential_ids)}
        return {row[0]: row[1] for row in self._clickhouse.rows(_LAST_USED, names)}


def _usage_row(row: Sequence[Any], by: Sequence[Dimension]) -> UsageRow:
    grouped, events, quantities, errors, request_bytes, response_bytes, p50, p95, _ = row
    return UsageRow(
        group=dict(zip((d.value for d in by), grouped, strict=True)),
        events=events,
        quantities=_plain_all(quantities),
        errors=errors,
        request_bytes=request_bytes,
        response_bytes=response_bytes,
        latency_p50_us=_whole(p50),
        latency_p95_us=_whole(p95),
    )


def _plain(units: Decimal) -> Decimal:
    """Drop the column's trailing zeros: 40.000000000000 is 40 to people and in CSV files."""
    return Decimal(format_decimal(units))


def _plain_all(quantities: Mapping[str, Decimal]) -> dict[str, Decimal]:
    return {meter: _plain(units) for meter, units in quantities.items()}


def _request_row(row: Sequence[Any]) -> RequestRow:
    found = RequestRow(*row)
    return replace(found, quantities=_plain_all(found.quantities))


def _whole(quantile: float) -> int:
    return 0 if math.isnan(quantile) else int(quantile)  # NaN: no request at all


def _aware(instant: datetime) -> datetime:
    if instant.tzinfo is None:
        msg = f"{instant} has no timezone"
        raise QueryInvalidError(msg)
    return instant.astimezone(UTC)


def _check_interval(start: datetime, end: datetime) -> None:
    if _aware(start) > _aware(end):
        msg = f"[{format_time(start)}, {format_time(end)}) ends before it starts"
        raise QueryInvalidError(msg)


def _period(
    subscription_id: str, environment: str, start: datetime, end: datetime
) -> dict[str, Any]:
    _check_interval(start, end)
    if not subscription_id:
        raise QueryInvalidError("usage for money needs a subscription")
    return {
        "subscription_id": subscription_id,
        "environment": environment,
        "start": start,
        "end": end,
    }


def _conditions(where: UsageFilter) -> tuple[str, dict[str, Any]]:
    """Write a filter as SQL conditions with bound values.

    :raises QueryInvalidError: for a reversed or naive interval, or without an owner.
    """
    _check_interval(where.start, where.end)
    if not (where.organization_id or where.subscription_id or where.everyone):
        raise QueryInvalidError("name an organization, a subscription, or everyone")
    parts = [
        "admitted_at >= {start:DateTime64(6, 'UTC')}",
        "admitted_at < {end:DateTime64(6, 'UTC')}",
        "environment = {environment:String}",
    ]
    parameters: dict[str, Any] = {
        "start": where.start,
        "end": where.end,
        "environment": where.environment,
    }
    for name in ("organization_id", "subscription_id", "consumer_id", "credential_id", "api",
                 "route"):  # fmt: skip
        if value := getattr(where, name):
            parts.append(f"{name} = {{{name}:String}}")
            parameters[name] = value
    if where.status:
        parts.append("status = {status:UInt64}")
        parameters["status"] = where.status
    if where.charges:
        parts.append("toString(charge) IN {charges:Array(String)}")
        parameters["charges"] = [charge.value for charge in where.charges]
    return " AND ".join(parts), parameters
