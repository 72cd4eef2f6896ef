"""The organization's own request log: a list with filters, and one request with its verdict."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from gateway.contracts.access_log import format_time, parse_time
from metering.errors import MeteringUnavailableError
from metering.queries import RequestRow, UsageFilter
from portal.clock import now
from portal.core.usage_view import build_range, status_class
from portal.models import Credential, Environment, Membership
from portal.permissions import KEY_ROLES, member_required
from portal.selectors import key_list
from portal.templatetags.ledger import charge_label
from portal.usage import reader
from portal.views.verdicts import remedy_of, verdict_of

PAGE_ROWS: Final = 50
LOG_RANGE: Final = "30d"
_ENVIRONMENTS: Final = dict(Environment.choices)


@dataclass(frozen=True, slots=True)
class LogQuery:
    """The filters of the query string."""

    environment: str
    status: int
    key_id: str
    before: datetime | None

    def link(self, **changed: str) -> str:
        values = {"env": self.environment, "status": str(self.status or ""), "key": self.key_id}
        return urlencode({k: v for k, v in (values | changed).items() if v})


def read_log_query(request: HttpRequest) -> LogQuery:
    """Read the filters; what cannot be read is left out."""
    environment, status = request.GET.get("env", ""), request.GET.get("status", "")
    try:
        before = parse_time(request.GET.get("before", ""))
    except ValueError:
        before = None
    return LogQuery(
        environment=environment if environment in Environment.values else Environment.LIVE,
        status=int(status) if status.isascii() and status.isdigit() and len(status) == 3 else 0,
        key_id=request.GET.get("key", ""),
        before=before,
    )


def _line(row: RequestRow, keys: dict[str, Credential]) -> dict[str, Any]:
    return {
        "row": row,
        "kind": {"2xx": "ok", "4xx": "warn", "429": "warn", "5xx": "bad"}[
            status_class(row.status)
        ],
        "charge": charge_label(row.charge),
        "environment": _ENVIRONMENTS.get(row.environment, row.environment),
        "verdict": verdict_of(row),
        "key": keys.get(row.credential_id),
    }


@require_GET
@member_required(*KEY_ROLES)
def request_list(request: HttpRequest, member: Membership) -> HttpResponse:
    """List the newest requests of the last 30 days; older ones by the link at the end."""
    at, query = now(), read_log_query(request)
    keys = {key.pk: key for key in key_list(organization=member.organization)}
    context: dict[str, Any] = {
        "organization": member.organization,
        "query": query,
        "keys": keys.values(),
        "as_of": at,
        "environments": [(v, label, query.link(env=v)) for v, label in Environment.choices],
        "filtered": bool(query.status or query.key_id),
    }
    shown = build_range(preset=LOG_RANGE, first="", last="", now=at)
    where = UsageFilter(
        start=shown.start,
        end=at,
        environment=query.environment,
        organization_id=member.organization.pk,
        credential_id=query.key_id,
        status=query.status,
    )
    try:
        rows = reader().requests(where, limit=PAGE_ROWS + 1, before=query.before)
    except MeteringUnavailableError:
        return render(request, "portal/app/request_list.html", context | {"usage_down": True})
    context["lines"] = [_line(row, keys) for row in rows[:PAGE_ROWS]]
    context["newest"] = rows[0].admitted_at if rows and query.before is None else None
    if len(rows) > PAGE_ROWS:
        context["older"] = query.link(before=format_time(rows[PAGE_ROWS - 1].admitted_at))
    return render(request, "portal/app/request_list.html", context)


@require_GET
@member_required(*KEY_ROLES)
def request_detail(request: HttpRequest, member: Membership, request_id: str) -> HttpResponse:
    """Show one request: what was decided, what it cost and why."""
    organization = member.organization
    context: dict[str, Any] = {"organization": organization, "as_of": now()}
    try:
        row = reader().request(organization_id=organization.pk, request_id=request_id)
    except MeteringUnavailableError:
        return render(request, "portal/app/request_detail.html", context | {"usage_down": True})
    if row is None:
        raise Http404
    keys = {key.pk: key for key in key_list(organization=organization)}
    context |= _line(row, keys)
    context["remedy"] = remedy_of(row) if row.status >= 400 else None
    context["around"] = format_time(row.admitted_at + timedelta(microseconds=1))
    return render(request, "portal/app/request_detail.html", context)
