"""Usage and the request log: the figures of the pages, decimals as strings, times in UTC."""

from datetime import datetime
from typing import Any, ClassVar, Final

from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from gateway.contracts.access_log import format_time, parse_time
from metering.queries import RequestRow, UsageFilter
from portal import clock
from portal.api.base import Answer, ApiView, operation, text_query
from portal.api.permissions import members
from portal.core.usage_view import MAX_DAYS, PRESETS, build_range
from portal.models import Environment
from portal.permissions import EVERY_ROLE, KEY_ROLES
from portal.services.usage_tables import GROUPINGS, UsageTable, build_table, read_query, read_table
from portal.usage import reader

MAX_ROWS: Final = 200
LOG_RANGE: Final = "30d"
ENVIRONMENT: Final = text_query("env", "live unless said", Environment.values)


class UnitsField(serializers.DictField):
    child = serializers.CharField()


class UsageLineOut(Answer):
    """One group; `units` are what the quota and the invoice count, by meter."""

    name = serializers.CharField()
    requests = serializers.IntegerField()
    errors = serializers.IntegerField()  # type: ignore[assignment] # a field of ours
    units = UnitsField()
    latency_p50_us = serializers.IntegerField()
    latency_p95_us = serializers.IntegerField()


class UsageOut(Answer):
    environment = serializers.CharField()
    by = serializers.CharField()
    start = serializers.DateTimeField()
    end = serializers.DateTimeField(help_text="exclusive")
    as_of = serializers.DateTimeField()
    newest_event_at = serializers.DateTimeField(allow_null=True)
    rows = UsageLineOut(many=True)
    total = UsageLineOut()


class RequestOut(Answer):
    """One request as the gateway recorded it, with what it costs and why."""

    request_id = serializers.CharField()
    admitted_at = serializers.DateTimeField()
    environment = serializers.CharField()
    api = serializers.CharField()
    route = serializers.CharField()
    method = serializers.CharField()
    path_template = serializers.CharField(allow_blank=True)
    status = serializers.IntegerField()
    decision = serializers.CharField()
    charge = serializers.CharField()
    charge_reason = serializers.CharField(allow_blank=True)
    quantities = UnitsField()
    latency_us = serializers.IntegerField()
    credential_id = serializers.CharField(allow_blank=True)
    subscription_id = serializers.CharField(allow_blank=True)


class RequestsOut(Answer):
    items = RequestOut(many=True)
    as_of = serializers.DateTimeField()
    before = serializers.CharField(allow_null=True, help_text="pass it on to read older ones")


def _line(name: str, row: Any, meters: tuple[str, ...]) -> dict[str, Any]:
    return {
        "name": name,
        "requests": row.events,
        "errors": row.errors,
        "units": {meter: format(row.quantities.get(meter, 0), "f") for meter in meters},
        "latency_p50_us": row.latency_p50_us,
        "latency_p95_us": row.latency_p95_us,
    }


def _table(table: UsageTable) -> dict[str, Any]:
    return {
        "rows": [_line(name, row, table.meters) for name, row in table.rows],
        "total": _line("total", table.total, table.meters),
    }


def request_values(row: RequestRow) -> dict[str, Any]:
    names: list[str] = [str(name) for name in RequestOut().get_fields() if name != "quantities"]
    units = {meter: format(number, "f") for meter, number in row.quantities.items()}
    return {name: getattr(row, name) for name in names} | {"quantities": units}


class Usage(ApiView):
    access: ClassVar = {"GET": members(*EVERY_ROLE)}

    @operation(
        "usage_show",
        answer=UsageOut,
        query=[
            ENVIRONMENT,
            text_query("by", "day unless said", list(GROUPINGS)),
            text_query("range", "7d unless said", list(PRESETS)),
            text_query("from", "first day, with `to` and without `range`"),
            text_query("to", f"last day, included, at most {MAX_DAYS} days on"),
        ],
    )
    def get(self, request: Request, org: str) -> Response:
        """Show an interval's usage by day (by hour up to 48 h), route, status or key."""
        at, sent = clock.now(), request.query_params
        query = read_query(sent.dict(), self.member.organization, at)
        if query.shown.preset and (sent.get("from") or sent.get("to")):
            text = f"`from` and `to` are two days, at most {MAX_DAYS} apart, without `range`."
            wrong = serializers.ErrorDetail(text, "not_a_range")
            raise serializers.ValidationError({"from": [wrong]})
        report = read_table(query)
        found = {
            "environment": query.environment,
            "by": query.grouping,
            "start": query.shown.start,
            "end": query.shown.end,
            "as_of": at,
            "newest_event_at": report.newest_event_at,
            **_table(build_table(query, report)),
        }
        return Response(UsageOut(found).data)


class Requests(ApiView):
    access: ClassVar = {"GET": members(*KEY_ROLES)}

    @operation(
        "request_list",
        answer=RequestsOut,
        query=[
            ENVIRONMENT,
            text_query("status", "a status of three digits", pattern="[1-5][0-9]{2}"),
            text_query("key", "a key's id"),
            text_query("before", "an instant from an earlier answer"),
        ],
    )
    def get(self, request: Request, org: str) -> Response:
        """List the newest requests of the last 30 days, 200 at a time."""
        at, params = clock.now(), request.query_params
        shown = build_range(preset=LOG_RANGE, first="", last="", now=at)
        where = UsageFilter(
            start=shown.start,
            end=at,
            environment=params.get("env") or Environment.LIVE,
            organization_id=self.member.organization.pk,
            credential_id=params.get("key", ""),
            status=int(params.get("status") or 0),
        )
        rows = reader().requests(where, limit=MAX_ROWS + 1, before=_instant(params))
        more = len(rows) > MAX_ROWS
        found = {
            "items": [request_values(row) for row in rows[:MAX_ROWS]],
            "as_of": at,
            "before": format_time(rows[MAX_ROWS - 1].admitted_at) if more else None,
        }
        return Response(RequestsOut(found).data)


def _instant(params: Any) -> datetime | None:
    text = params.get("before")
    if not text:
        return None
    try:
        return parse_time(text)
    except ValueError as error:
        wrong = serializers.ErrorDetail("This is no instant.", "not_a_time")
        raise serializers.ValidationError({"before": [wrong]}) from error


class RequestDetail(ApiView):
    access: ClassVar = {"GET": members(*KEY_ROLES)}

    @operation("request_show", answer=RequestOut)
    def get(self, request: Request, org: str, request_id: str) -> Response:
        """Show one request by its id."""
        organization = self.member.organization
        row = reader().request(organization_id=organization.pk, request_id=request_id)
        if row is None:
            raise NotFound
        return Response(RequestOut(request_values(row)).data)
