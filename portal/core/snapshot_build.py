"""From the portal's rows to the objects of a snapshot: which call draws on what, and until when.

Pure: rows come in as named tuples whose fields are the columns read (`portal.snapshots`), contract
objects go out. What an object refers to and is not there is left out, so that rows read while
they change still give a snapshot that a gateway accepts; the change itself builds the next one.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from gateway.contracts import snapshot as wire
from gateway.contracts.access_log import Charge
from portal.core.calendar import month_windows

TEST_PLAN_VERSION: Final = "test-environment"
TEST_START: Final = datetime.fromisoformat("2000-01-01T00:00:00+00:00")
SEGMENT_MEMORY: Final = timedelta(days=32)
"""How long ended segments stay: longer than any quota window, because a gateway that starts counts
what the window's events used by the plan of their own segment."""


class ApiRow(NamedTuple):
    id: str
    slug: str
    is_published: bool


class UpstreamRow(NamedTuple):
    id: str
    targets: dict[str, int]
    base_path: str
    host_header: str
    connect_timeout_ms: int
    send_timeout_ms: int
    read_timeout_ms: int
    retries: int


class RouteRow(NamedTuple):
    id: str
    api_id: str
    upstream_id: str
    name: str
    path: str
    methods: list[str]
    hosts: list[str]
    priority: int
    is_public: bool
    strip_prefix: str
    units: dict[str, int]
    max_body_bytes: int
    read_timeout_ms: int
    query_key: bool
    scopes: list[str]


class OrganizationRow(NamedTuple):
    id: str
    slug: str
    blocked_at: datetime | None
    suspended_at: datetime | None


class ConsumerRow(NamedTuple):
    id: str
    organization_id: str
    username: str
    custom_id: str
    is_active: bool


class CredentialRow(NamedTuple):
    id: str
    consumer_id: str
    environment: str
    key_hash: str
    not_before: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None
    ip_allow: list[str]
    scopes: list[str]


class PlanVersionRow(NamedTuple):
    id: str
    plan_id: str
    plan__slug: str
    number: int
    limits: dict[str, Any]


class SubscriptionRow(NamedTuple):
    id: str
    organization_id: str
    starts_at: datetime
    ends_at: datetime | None
    paused_at: datetime | None


class SegmentRow(NamedTuple):
    id: str
    subscription_id: str
    plan_version_id: str
    starts_at: datetime
    ends_at: datetime | None


class PeriodRow(NamedTuple):
    subscription_id: str
    starts_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotRows:
    """What was read; periods and segments in order of their start."""

    apis: Sequence[ApiRow] = ()
    upstreams: Sequence[UpstreamRow] = ()
    routes: Sequence[RouteRow] = ()
    organizations: Sequence[OrganizationRow] = ()
    consumers: Sequence[ConsumerRow] = ()
    credentials: Sequence[CredentialRow] = ()
    plan_versions: Sequence[PlanVersionRow] = ()
    plan_apis: Sequence[tuple[str, str]] = ()  # (plan id, API id)
    subscriptions: Sequence[SubscriptionRow] = ()
    segments: Sequence[SegmentRow] = ()
    periods: Sequence[PeriodRow] = ()


@dataclass(slots=True)
class Built:
    """Contract objects per kind, and the product time by which they must be built again."""

    objects: dict[str, list[Any]]
    refresh_at: datetime | None


@dataclass(slots=True)
class _Coverage:
    """Which APIs and routes each plan covers."""

    apis_of: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    routes_of: dict[str, tuple[str, ...]] = field(default_factory=dict)
    plan_of: dict[str, str] = field(default_factory=dict)  # plan version -> plan


def build_snapshot(rows: SnapshotRows, *, now: datetime, portal_url: str) -> Built:
    """Resolve every (credential, API) to the entitlement it draws on.

    A live credential draws on its organization's subscription that covers the API: the running
    one, else the next to start, else the last that ended (so that the answer says why). A test
    credential may call every published API under the built-in test limits.
    """
    coverage = _cover(rows)
    organizations = {row.id: row for row in rows.organizations}
    consumers = {row.id: row for row in rows.consumers if row.organization_id in organizations}
    credentials = [row for row in rows.credentials if row.consumer_id in consumers]
    entitlements, choice = _live_entitlements(
        rows, coverage=coverage, organizations=organizations, now=now, portal_url=portal_url
    )
    tested = {
        consumers[row.consumer_id].organization_id
        for row in credentials
        if row.environment == wire.Environment.TEST
    }
    entitlements += [_test_entitlement(organization) for organization in sorted(tested)]
    published = [row.id for row in rows.apis if row.is_published]
    objects: dict[str, list[Any]] = {
        "apis": [wire.Api(id=r.id, name=r.slug, published=r.is_published) for r in rows.apis],
        "upstreams": [wire.Upstream(**r._asdict()) for r in rows.upstreams],
        "routes": [_route(row) for row in rows.routes],
        "consumers": [_consumer(row) for row in consumers.values()],
        "credentials": [
            _credential(row, organizations[consumers[row.consumer_id].organization_id])
            for row in credentials
        ],
        "plan_versions": [_plan_version(r, coverage=coverage, now=now) for r in rows.plan_versions]
        + [TEST_TERMS],
        "entitlements": entitlements,
        "grants": [
            grant
            for row in credentials
            for grant in _grants(
                row, consumers[row.consumer_id].organization_id, choice=choice, published=published
            )
        ],
    }
    return Built(objects, _refresh_at(rows, plan_versions=objects["plan_versions"], now=now))


def _cover(rows: SnapshotRows) -> _Coverage:
    coverage = _Coverage()
    for plan_id, api_id in rows.plan_apis:
        coverage.apis_of[plan_id].add(api_id)
    routes_by_api: dict[str, list[str]] = defaultdict(list)
    for route in rows.routes:
        routes_by_api[route.api_id].append(route.id)
    for plan_id, apis in coverage.apis_of.items():
        coverage.routes_of[plan_id] = tuple(sorted(r for a in apis for r in routes_by_api[a]))
    coverage.plan_of = {row.id: row.plan_id for row in rows.plan_versions}
    return coverage


def _route(row: RouteRow) -> wire.Route:
    values = row._asdict()
    values["public"] = values.pop("is_public")
    values["methods"] = tuple(row.methods)
    values["hosts"] = tuple(row.hosts)
    values["scopes"] = tuple(row.scopes)
    values["units"] = dict(row.units) or {"requests": 1}
    return wire.Route(**values)


def _consumer(row: ConsumerRow) -> wire.Consumer:
    return wire.Consumer(
        id=row.id,
        organization_id=row.organization_id,
        username=row.username,
        custom_id=row.custom_id,
        active=row.is_active,
    )


def _credential(row: CredentialRow, organization: OrganizationRow) -> wire.Credential:
    return wire.Credential(
        id=row.id,
        consumer_id=row.consumer_id,
        environment=wire.Environment(row.environment),
        key_hash=row.key_hash,
        active=row.revoked_at is None and organization.suspended_at is None,
        not_before=row.not_before,
        expires_at=row.expires_at,
        ip_allow=tuple(row.ip_allow),
        scopes=tuple(row.scopes),
    )


def _plan_version(row: PlanVersionRow, *, coverage: _Coverage, now: datetime) -> wire.PlanVersion:
    """Build a version; its routes are always written out, so that each segment of a subscription
    grants exactly what its own plan covers, however the plans of its other segments differ."""
    limits = row.limits
    covered = coverage.routes_of.get(row.plan_id, ())
    chosen = limits.get("routes")
    policy = dict(wire.DEFAULT_COUNT_POLICY)
    for outcome, charge in limits.get("count_policy", {}).items():
        policy[wire.Outcome(outcome)] = Charge(charge)
    return wire.PlanVersion(
        id=row.id,
        plan=row.plan__slug,
        version=row.number,
        rate_limits=tuple(wire.RateLimit(**limit) for limit in limits.get("rate_limits", [])),
        quotas=tuple(_quota(quota, now=now) for quota in limits.get("quotas", [])),
        count_policy=policy,
        routes=covered if chosen is None else tuple(r for r in covered if r in set(chosen)),
        fail_open=bool(limits.get("fail_open", False)),
    )


def _quota(limit: Mapping[str, Any], *, now: datetime) -> wire.Quota:
    values = dict(limit)
    values["window"] = wire.WindowKind(values.get("window", wire.WindowKind.BILLING_PERIOD))
    values["alerts_at"] = tuple(values.get("alerts_at", (80, 95)))
    if values["window"] is wire.WindowKind.CALENDAR_MONTH:
        values["windows"] = tuple(
            wire.Interval(start=start, end=end) for start, end in month_windows(now)
        )
    return wire.Quota(**values)


TEST_TERMS: Final = wire.PlanVersion(
    id=TEST_PLAN_VERSION,
    plan=TEST_PLAN_VERSION,
    version=1,
    rate_limits=(wire.RateLimit(name="test", rate=60, per_s=60, burst=60),),
    quotas=(wire.Quota(meter="requests", quota=1_000, window=wire.WindowKind.DAY, alerts_at=()),),
)
"""The limits of every organization's test environment. Its events are free whatever the policy
says; the default one decides which calls count against these limits."""


def _test_entitlement(organization_id: str) -> wire.Entitlement:
    name = f"test:{organization_id}"
    return wire.Entitlement(
        id=name,
        organization_id=organization_id,
        environment=wire.Environment.TEST,
        segments=(
            wire.Segment(id=name, start=TEST_START, end=None, plan_version_id=TEST_PLAN_VERSION),
        ),
    )


def _live_entitlements(
    rows: SnapshotRows,
    *,
    coverage: _Coverage,
    organizations: Mapping[str, OrganizationRow],
    now: datetime,
    portal_url: str,
) -> tuple[list[wire.Entitlement], dict[str, dict[str, str]]]:
    """Return the entitlements, and per organization which one each API draws on."""
    paused = {row.id for row in rows.subscriptions if row.paused_at is not None}
    segments = _by_subscription(
        row
        for row in rows.segments
        if row.ends_at is None
        or row.ends_at > now - SEGMENT_MEMORY
        or row.subscription_id in paused
    )
    periods = _by_subscription(row for row in rows.periods if row.ends_at > now)
    known = [r for r in rows.subscriptions if r.organization_id in organizations]
    choice: dict[str, dict[str, str]] = defaultdict(dict)
    ended: list[tuple[str, str, str]] = []
    entitlements = []
    for row in sorted(known, key=lambda r: _preference(r, now=now)):
        own = [s for s in segments.get(row.id, []) if s.plan_version_id in coverage.plan_of]
        organization = organizations[row.organization_id]
        entitlements.append(
            wire.Entitlement(
                id=row.id,
                organization_id=row.organization_id,
                environment=wire.Environment.LIVE,
                segments=tuple(
                    wire.Segment(
                        id=s.id,
                        start=s.starts_at,
                        end=s.ends_at,
                        plan_version_id=s.plan_version_id,
                    )
                    for s in own
                ),
                subscription_id=row.id,
                state=_state(row, organization, now=now),
                periods=tuple(
                    wire.Interval(start=p.starts_at, end=p.ends_at)
                    for p in periods.get(row.id, [])[:2]
                ),
                upgrade_url=f"{portal_url}/app/{organization.slug}/plan",
            )
        )
        for segment in own:
            is_over = segment.ends_at is not None and segment.ends_at <= now
            for api_id in coverage.apis_of[coverage.plan_of[segment.plan_version_id]]:
                if is_over:
                    ended.append((row.organization_id, api_id, row.id))
                else:
                    choice[row.organization_id].setdefault(api_id, row.id)
    for (
        organization_id,
        api_id,
        subscription_id,
    ) in ended:  # only says why not, where none covers it
        choice[organization_id].setdefault(api_id, subscription_id)
    return entitlements, choice


def _preference(row: SubscriptionRow, *, now: datetime) -> tuple[int, int, str]:
    """Order subscriptions of an organization: running, then to come, then ended (newest first)."""
    if row.ends_at is not None and row.ends_at <= now:
        return 2, -_seconds(row.ends_at), row.id
    if row.starts_at <= now:
        return 0, _seconds(row.starts_at), row.id
    return 1, _seconds(row.starts_at), row.id


def _seconds(instant: datetime) -> int:
    return (instant - TEST_START) // timedelta(seconds=1)


def _state(
    row: SubscriptionRow, organization: OrganizationRow, *, now: datetime
) -> wire.EntitlementState:
    over = [at for at in (row.paused_at, row.ends_at) if at is not None and at <= now]
    if over:
        return wire.EntitlementState.INACTIVE
    if organization.blocked_at is not None:
        return wire.EntitlementState.PAST_DUE_BLOCKED
    return wire.EntitlementState.ACTIVE


def _by_subscription(rows: Iterable[Any]) -> dict[str, list[Any]]:
    grouped: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        grouped[row.subscription_id].append(row)
    return grouped


def _grants(
    row: CredentialRow,
    organization_id: str,
    *,
    choice: Mapping[str, Mapping[str, str]],
    published: Sequence[str],
) -> list[wire.Grant]:
    if row.environment == wire.Environment.TEST:
        drawn = dict.fromkeys(published, f"test:{organization_id}")
    else:
        drawn = dict(choice.get(organization_id, {}))
    return [
        wire.Grant(
            id=f"{row.id}:{api_id}",
            credential_id=row.id,
            api_id=api_id,
            entitlement_id=entitlement_id,
        )
        for api_id, entitlement_id in drawn.items()
    ]


def _refresh_at(
    rows: SnapshotRows, *, plan_versions: Sequence[wire.PlanVersion], now: datetime
) -> datetime | None:
    """Return the next instant that changes the content by itself (None = no such instant)."""
    instants = [
        at
        for row in rows.subscriptions
        for at in (row.starts_at, row.ends_at, row.paused_at)
        if at is not None
    ]
    instants += [row.ends_at for row in rows.periods]
    instants += [w.end for v in plan_versions for q in v.quotas for w in q.windows]
    return min((instant for instant in instants if instant > now), default=None)
