"""Usage of an organization as one table, for the page, the CSV and the REST API."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

from django.utils.translation import gettext as _

from gateway.contracts.access_log import Charge
from metering.queries import Dimension, UsageFilter, UsageReport, UsageRow
from portal.core.csv_cells import Cell
from portal.core.usage_view import Range, bucket_of, build_range
from portal.models import Credential, Environment, Organization
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


def read_query(params: Mapping[str, str], organization: Organization, at: datetime) -> UsageQuery:
    """Read the parameters of a query string."""
    environment = params.get("env", "")
    grouping = params.get("by", "")
    return UsageQuery(
        organization=organization,
        environment=environment if environment in Environment.values else Environment.LIVE,
        grouping=grouping if grouping in GROUPINGS else "day",
        shown=build_range(
            preset=params.get("range", ""),
            first=params.get("from", ""),
            last=params.get("to", ""),
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


def key_names(query: UsageQuery) -> Mapping[str, str]:
    """Return what keys are called, by id."""
    rows = Credential.objects.filter(consumer__organization=query.organization)
    return {key.pk: f"{key.name} ({key})" for key in rows}


def name_of(value: str, names: Mapping[str, str]) -> str:
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
    by = (table_dimension(query),)
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
    dimension = table_dimension(query)
    names = key_names(query) if query.grouping == "key" else {}
    if dimension is Dimension.HOUR:
        named = [(f"{bucket_of(r.group[dimension]):%Y-%m-%d %H:%M}", r) for r in report.rows]
    else:
        named = [(name_of(row.group[dimension], names), row) for row in report.rows]
    if query.grouping == "day":
        named.sort(key=lambda pair: pair[0])
    else:
        named.sort(key=lambda pair: (-pair[1].events, pair[0]))
    meters = sorted(report.total.quantities)
    return UsageTable(query.grouping, tuple(meters), tuple(named), report.total)


def table_dimension(query: UsageQuery) -> Dimension:
    if query.grouping == "day" and query.shown.hourly:
        return Dimension.HOUR
    return GROUPINGS[query.grouping]
