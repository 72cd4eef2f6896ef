"""Usage of an organization: one interval, one environment, grouped; as page and as CSV."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from gateway.contracts.access_log import Charge
from metering.errors import MeteringUnavailableError
from metering.queries import Dimension, UsageFilter, UsageReport, UsageRow
from portal.clock import now
from portal.core.chart_layout import BarChart
from portal.core.csv_cells import Cell, build_csv
from portal.core.usage_view import (
    PRESETS,
    Range,
    bucket_of,
    build_buckets,
    build_range,
    status_series,
    top_series,
)
from portal.models import Credential, Environment, Membership, Organization
from portal.permissions import EVERY_ROLE, member_required
from portal.usage import reader

GROUPINGS: Final[Mapping[str, Dimension]] = {
    "day": Dimension.DAY,
    "route": Dimension.ROUTE,
    "status": Dimension.STATUS,
    "key": Dimension.CREDENTIAL,
}
CHARGED: Final = (Charge.BILLED, Charge.COUNTED)


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """What the query string asks for; unknown values fall back to the first choice."""

    organization: Organization
    environment: str
    grouping: str
    shown: Range

    @property
    def where(self) -> UsageFilter:
        return UsageFilter(
            start=self.shown.start,
            end=self.shown.end,
            environment=self.environment,
            organization_id=self.organization.pk,
        )

    def link(self, **changed: str) -> str:
        """Return the query string with some parameters changed."""
        values = {"env": self.environment, "by": self.grouping, "range": self.shown.preset}
        if not self.shown.preset and "range" not in changed:
            values |= {"from": str(self.shown.first_day), "to": str(self.shown.last_day)}
        return urlencode({k: v for k, v in (values | changed).items() if v})


def read_query(request: HttpRequest, organization: Organization, at: datetime) -> UsageQuery:
    environment = request.GET.get("env", "")
    grouping = request.GET.get("by", "")
    return UsageQuery(
        organization=organization,
        environment=environment if environment in Environment.values else Environment.LIVE,
        grouping=grouping if grouping in GROUPINGS else "day",
        shown=build_range(
            preset=request.GET.get("range", ""),
            first=request.GET.get("from", ""),
            last=request.GET.get("to", ""),
            now=at,
        ),
    )


@dataclass(frozen=True, slots=True)
class UsageTable:
    """The table under the chart; the CSV is made from the same rows."""

    label: str
    meters: tuple[str, ...]
    rows: tuple[tuple[str, UsageRow], ...]
    total: UsageRow

    @property
    def header(self) -> list[str]:
        fixed = [self.label, "requests", "errors"]
        return [
            *fixed,
            *(f"units_{meter}" for meter in self.meters),
            "latency_p50_us",
            "latency_p95_us",
        ]

    @property
    def cells(self) -> list[list[Cell]]:
        return [
            [
                name,
                row.events,
                row.errors,
                *(row.quantities.get(meter, 0) for meter in self.meters),
                row.latency_p50_us,
                row.latency_p95_us,
            ]
            for name, row in self.rows
        ]

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The rows for a template: name, figures, a value per meter."""
        return [
            {"name": name, "row": row, "units": [row.quantities.get(m, 0) for m in self.meters]}
            for name, row in self.rows
        ]

    @property
    def total_units(self) -> list[Any]:
        return [self.total.quantities.get(meter, 0) for meter in self.meters]


def _names(query: UsageQuery) -> Mapping[str, str]:
    """Return what keys are called, by id."""
    rows = Credential.objects.filter(consumer__organization=query.organization)
    return {key.pk: f"{key.name} ({key})" for key in rows}


def _name_of(value: str, names: Mapping[str, str]) -> str:
    return names.get(value, value) or _("none")


def with_charged_units(
    rows: Sequence[UsageRow], charged: Sequence[UsageRow]
) -> tuple[UsageRow, ...]:
    """Return `rows` with the units of `charged`: what was given back counts nowhere."""
    units = {tuple(row.group.items()): row.quantities for row in charged}
    return tuple(replace(row, quantities=units.get(tuple(row.group.items()), {})) for row in rows)


def read_table(query: UsageQuery) -> UsageReport:
    """Read the table's report: every request, but units as the quota and the invoice see them.

    Test calls are free as a whole; their units are shown as the gateway counted them.
    """
    by = (_table_dimension(query),)
    report = reader().usage(query.where, by=by)
    if query.environment == Environment.TEST:
        return report
    charged = reader().usage(replace(query.where, charges=CHARGED), by=by)
    rows = with_charged_units(report.rows, charged.rows)
    return replace(
        report, rows=rows, total=replace(report.total, quantities=charged.total.quantities)
    )


def build_table(query: UsageQuery, report: UsageReport) -> UsageTable:
    """Name and order the rows: days by time, everything else by requests."""
    dimension = _table_dimension(query)
    names = _names(query) if query.grouping == "key" else {}
    if dimension is Dimension.HOUR:
        named = [(f"{bucket_of(r.group[dimension]):%Y-%m-%d %H:%M}", r) for r in report.rows]
    else:
        named = [(_name_of(row.group[dimension], names), row) for row in report.rows]
    if query.grouping == "day":
        named.sort(key=lambda pair: pair[0])
    else:
        named.sort(key=lambda pair: (-pair[1].events, pair[0]))
    meters = sorted(report.total.quantities)
    return UsageTable(query.grouping, tuple(meters), tuple(named), report.total)


def _table_dimension(query: UsageQuery) -> Dimension:
    if query.grouping == "day" and query.shown.hourly:
        return Dimension.HOUR
    return GROUPINGS[query.grouping]


def build_chart(query: UsageQuery, report: UsageReport, *, at: datetime) -> BarChart:
    """Stack requests by time: by class of status, or by the chosen dimension's largest values."""
    buckets = build_buckets(query.shown)
    bucket = Dimension.HOUR if query.shown.hourly else Dimension.DAY
    if query.grouping in {"day", "status"}:
        by_status: dict[tuple[datetime, int], int] = {}
        for row in report.rows:
            place = (bucket_of(row.group[bucket]), int(row.group[Dimension.STATUS]))
            by_status[place] = row.events
        series = status_series(by_status, buckets)
    else:
        dimension = GROUPINGS[query.grouping]
        names = _names(query) if query.grouping == "key" else {}
        by_value = {
            (bucket_of(r.group[bucket]), r.group[dimension]): r.events for r in report.rows
        }
        series = top_series(
            by_value, buckets, name_of=lambda v: _name_of(v, names), other=_("Other")
        )
    filling = (
        [n for n, start in enumerate(buckets) if start <= at] if query.shown.end >= at else []
    )
    return BarChart(
        title=_("Requests by hour") if query.shown.hourly else _("Requests by day"),
        description=_describe(report.total, buckets),
        labels=tuple(f"{b:%H:%M}" if query.shown.hourly else f"{b:%d %b}" for b in buckets),
        series=series,
        unit=_("requests"),
        partial=filling[-1] if filling else None,
    )


def _describe(total: UsageRow, buckets: Sequence[datetime]) -> str:
    text = _("%(requests)s requests, %(errors)s of them errors, in %(bars)s bars; times in UTC.")
    return text % {"requests": total.events, "errors": total.errors, "bars": len(buckets)}


def _reports(query: UsageQuery) -> tuple[UsageReport, UsageReport]:
    """Ask for the chart (time by dimension) and the table (one dimension)."""
    bucket = Dimension.HOUR if query.shown.hourly else Dimension.DAY
    second = Dimension.STATUS if query.grouping == "day" else GROUPINGS[query.grouping]
    chart = reader().usage(query.where, by=(bucket, second))
    return chart, read_table(query)


@require_GET
@member_required(*EVERY_ROLE)
def usage(request: HttpRequest, member: Membership) -> HttpResponse:
    """Show an interval's requests as chart, tiles and table."""
    at = now()
    query = read_query(request, member.organization, at)
    context: dict[str, Any] = {
        "organization": member.organization,
        "query": query,
        "as_of": at,
        "environments": [(v, label, query.link(env=v)) for v, label in Environment.choices],
        "presets": [(name, query.link(range=name)) for name in PRESETS],
        "groupings": [(name, text, query.link(by=name)) for name, text in _grouping_words()],
        "csv_query": query.link(),
    }
    try:
        chart, table = _reports(query)
    except MeteringUnavailableError:
        return render(request, "portal/app/usage.html", context | {"usage_down": True})
    total = table.total
    context |= {
        "newest": table.newest_event_at,
        "table": build_table(query, table),
        "chart": build_chart(query, chart, at=at),
        "total": total,
        "error_percent": _share(total.errors, total.events),
    }
    return render(request, "portal/app/usage.html", context)


def _grouping_words() -> list[tuple[str, str]]:
    return [("day", _("Time")), ("route", _("Route")), ("status", _("Status")), ("key", _("Key"))]


def _share(part: int, whole: int) -> str:
    """Write a share in percent with one digit.

    >>> _share(1, 8), _share(0, 0)
    ('12.5', '0.0')
    """
    tenths = (part * 1000 + whole // 2) // whole if whole else 0
    return f"{tenths // 10}.{tenths % 10}"


@require_GET
@member_required(*EVERY_ROLE)
def usage_csv(request: HttpRequest, member: Membership) -> HttpResponse:
    """Answer with the table that the page shows for the same query string."""
    query = read_query(request, member.organization, now())
    try:
        report = read_table(query)
    except MeteringUnavailableError as error:
        return HttpResponse(error.public, status=error.status, content_type="text/plain")
    table = build_table(query, report)
    answer = HttpResponse(
        build_csv(table.header, table.cells), content_type="text/csv; charset=utf-8"
    )
    name = f"usage-{query.environment}-{query.shown.first_day}-{query.shown.last_day}.csv"
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer
