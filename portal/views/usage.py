"""Usage of an organization: one interval, one environment, grouped; as page and as CSV."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from metering.errors import MeteringUnavailableError
from metering.queries import Dimension, UsageReport, UsageRow
from portal.clock import now
from portal.core.chart_layout import BarChart
from portal.core.csv_cells import build_csv
from portal.core.usage_view import (
    PRESETS,
    bucket_of,
    build_buckets,
    status_series,
    top_series,
)
from portal.models import Environment, Membership
from portal.permissions import EVERY_ROLE, member_required
from portal.services.usage_tables import (
    GROUPINGS,
    UsageQuery,
    build_table,
    key_names,
    name_of,
    read_query,
    read_table,
)
from portal.usage import reader


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
        names = key_names(query) if query.grouping == "key" else {}
        by_value = {
            (bucket_of(r.group[bucket]), r.group[dimension]): r.events for r in report.rows
        }
        series = top_series(
            by_value, buckets, name_of=lambda v: name_of(v, names), other=_("Other")
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
    query = read_query(request.GET.dict(), member.organization, at)
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
    query = read_query(request.GET.dict(), member.organization, now())
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
