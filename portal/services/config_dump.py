"""Writes everything an admin defines as the plain values of the configuration file."""

from collections import defaultdict
from datetime import datetime
from typing import Any, Final

from portal.core.config_schema import FILE_VERSION
from portal.models import (
    Api,
    Consumer,
    Credential,
    Meter,
    Organization,
    Plan,
    PlanVersion,
    Route,
    Subscription,
    Upstream,
)
from portal.selectors import not_over

ROUTE_FIELDS: Final = (
    *("name", "path", "methods", "hosts", "priority", "is_public", "strip_prefix", "units"),
    *("max_body_bytes", "read_timeout_ms", "query_key", "scopes", "description"),
)
UPSTREAM_FIELDS: Final = (
    *("name", "targets", "base_path", "host_header", "connect_timeout_ms", "send_timeout_ms"),
    *("read_timeout_ms", "retries"),
)
API_FIELDS: Final = ("slug", "name", "description", "is_published", "sample_path")
PLAN_FIELDS: Final = ("slug", "name", "description", "is_public", "rank")
VERSION_FIELDS: Final = (
    "currency",
    "trial_days",
    "past_due_grace_days",
    "threshold_minor",
    "note",
    "terms",
    "limits",
)
ORGANIZATION_FIELDS: Final = ("slug", "name", "billing_email", "country")
CONSUMER_FIELDS: Final = ("username", "name", "custom_id", "is_active")
CREDENTIAL_FIELDS: Final = (
    *("name", "environment", "key_hash", "prefix", "last4", "scopes", "ip_allow", "not_before"),
    *("expires_at", "revoked_at"),
)


def config_dump(*, now: datetime) -> dict[str, Any]:
    """Return the installation's configuration, in a stable order; times are ISO-8601 texts."""
    routes = {row.pk: row for row in Route.objects.select_related("api", "upstream")}
    return {
        "version": FILE_VERSION,
        "meters": [_fields(m, ("slug", "name", "unit")) for m in Meter.objects.order_by("slug")],
        "upstreams": [_fields(u, UPSTREAM_FIELDS) for u in Upstream.objects.order_by("name")],
        "apis": _apis(routes),
        "plans": _plans(routes),
        "organizations": _organizations(now=now),
    }


def _fields(row: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: _plain(getattr(row, name)) for name in names}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return value


def _apis(routes: dict[str, Route]) -> list[dict[str, Any]]:
    by_api: dict[str, list[Route]] = defaultdict(list)
    for route in sorted(routes.values(), key=lambda r: r.name):
        by_api[route.api_id].append(route)
    return [
        {
            **_fields(api, API_FIELDS),
            "routes": [
                {"upstream": route.upstream.name, **_fields(route, ROUTE_FIELDS)}
                for route in by_api[api.pk]
            ],
        }
        for api in Api.objects.order_by("slug")
    ]


def _plans(routes: dict[str, Route]) -> list[dict[str, Any]]:
    versions: dict[str, list[PlanVersion]] = defaultdict(list)
    for version in PlanVersion.objects.order_by("number"):
        versions[version.plan_id].append(version)
    return [
        {
            **_fields(plan, PLAN_FIELDS),
            "archived": plan.archived_at is not None,
            "apis": sorted(api.slug for api in plan.apis.all()),
            "versions": [_version(version, routes) for version in versions[plan.pk]],
        }
        for plan in Plan.objects.prefetch_related("apis").order_by("slug")
    ]


def _version(version: PlanVersion, routes: dict[str, Route]) -> dict[str, Any]:
    values = _fields(version, VERSION_FIELDS)
    granted = version.limits.get("routes")
    if granted is not None:
        names = [route_name(routes[pk]) if pk in routes else pk for pk in granted]
        values["limits"] = {**version.limits, "routes": names}
    published = version.published_at is not None
    return {"number": version.number, "published": published, **values}


def route_name(route: Route) -> str:
    """Return how the file names a route: `api/route`."""
    return f"{route.api.slug}/{route.name}"


def _organizations(*, now: datetime) -> list[dict[str, Any]]:
    credentials: dict[str, list[Credential]] = defaultdict(list)
    for credential in Credential.objects.order_by("created_at", "pk"):
        credentials[credential.consumer_id].append(credential)
    consumers: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for consumer in Consumer.objects.order_by("username"):
        held = [_fields(c, CREDENTIAL_FIELDS) for c in credentials[consumer.pk]]
        consumers[consumer.organization_id].append(
            {**_fields(consumer, CONSUMER_FIELDS), "credentials": held}
        )
    subscriptions = _subscriptions(now=now)
    return [
        {
            **_fields(row, ORGANIZATION_FIELDS),
            "consumers": consumers[row.pk],
            "subscriptions": subscriptions[row.pk],
        }
        for row in Organization.objects.order_by("slug")
    ]


def _subscriptions(*, now: datetime) -> dict[str, list[dict[str, Any]]]:
    """Return, per organization, what it is on or about to be on; ended ones are history."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    rows = Subscription.objects.filter(not_over(now))
    for row in rows.prefetch_related("segments__plan_version__plan").order_by("starts_at", "pk"):
        last = max(row.segments.all(), key=lambda segment: segment.starts_at)
        found[row.organization_id].append(
            {
                "plan": last.plan_version.plan.slug,
                "version": last.plan_version.number,
                "starts_at": _plain(row.starts_at),
                "cancelled": row.ends_at is not None,
            }
        )
    return found
