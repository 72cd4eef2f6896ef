"""A snapshot turned into look-up tables, once, so that a request only looks things up.

Callers, their standing per route and the pre-encoded fragments are built at first use and kept
for the life of the tables: a hundred thousand keys cost nothing until they call.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from gateway.contracts.access_log import Charge
from gateway.contracts.api_keys import ParsedKey
from gateway.contracts.snapshot import (
    SCOPE,
    Api,
    Consumer,
    Credential,
    Entitlement,
    Environment,
    Outcome,
    PlanVersion,
    Route,
    Segment,
    Snapshot,
    SnapshotError,
)
from gateway.core.addresses import Network, parse_networks
from gateway.core.auth import KEY_HEADERS
from gateway.core.charges import ChargeRequest, WindowCharge
from gateway.core.events import Who, WhoText, cost_text, who_text
from gateway.core.headers import HeaderRoles, HostNames, header_value
from gateway.core.instants import to_us
from gateway.core.limit_headers import PolicyLines, policy_line, policy_lines
from gateway.core.limits import bucket_charges, check_rate_limits
from gateway.core.quota import check_quotas, window_charges
from gateway.core.routing import Router, check_path
from gateway.core.settle import PUBLIC, Settlement, settle
from gateway.core.target import parse_target
from gateway.core.upstreams import CompiledUpstream, compile_upstream

FOREVER_US: Final = 1 << 62
_METHODS: Final = frozenset(
    ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "REPORT", "SEARCH")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the node's settings say about policy."""

    usage_path: str = "/me/usage"
    key_headers: tuple[str, ...] = KEY_HEADERS
    realm: str = "tollway"
    docs_url: str = "/docs/errors"
    show_limits: bool = True
    hidden_response_headers: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True)
class CompiledRoute:
    route: Route
    api: Api
    upstream: CompiledUpstream


@dataclass(frozen=True, slots=True)
class Cost:
    """What an outcome costs on a plan, decided and encoded."""

    settlement: Settlement
    text: str


@dataclass(frozen=True, slots=True)
class Admit:
    """The request may go on if every charge can be taken; valid in `[from_us, until_us)`.

    policies   aligned with `charges`: what the response headers say of each
    """

    route: CompiledRoute
    who: WhoText
    costs: Mapping[Outcome, Cost]
    charges: tuple[ChargeRequest, ...] = ()
    policies: tuple[PolicyLines, ...] = ()
    windows: tuple[WindowCharge, ...] = ()  # what a free outcome gives back; buckets are not
    policy_line: bytes = b""
    identity_lines: bytes = b""
    caller: "Caller | None" = None
    entitlement: Entitlement | None = None
    fail_open: bool = False
    from_us: int = 0
    until_us: int = FOREVER_US


@dataclass(slots=True)
class Caller:
    """A credential with all that depends on it alone.

    parsed   its key, once a request has shown it
    """

    credential: Credential
    consumer: Consumer
    identity_lines: bytes
    networks: tuple[Network, ...]
    not_before_us: int
    expires_us: int
    who: Who
    who_text: WhoText
    parsed: ParsedKey | None = None
    admissions: dict[str, Admit] = field(default_factory=dict)  # route id -> last admission


class Compiled:
    """The tables of one snapshot. Build it with `compile_snapshot`."""

    def __init__(
        self, snapshot: Snapshot, options: Options, router: Router[CompiledRoute]
    ) -> None:
        self.snapshot: Final = snapshot
        self.options: Final = options
        self.router: Final = router
        self.roles: Final = HeaderRoles(options.key_headers)
        self.hosts: Final = HostNames()
        self._by_hash = {c.key_hash: c for c in snapshot.credentials.values()}
        self._callers: dict[str, Caller] = {}
        self._public: dict[str, Admit] = {}
        self._costs: dict[tuple[str, str, Environment], Mapping[Outcome, Cost]] = {}

    def caller(self, key_hash: str) -> Caller | None:
        """Find who holds a key, by its hash; whether it may be used now is not asked."""
        known = self._callers.get(key_hash)
        if known is None and (credential := self._by_hash.get(key_hash)) is not None:
            known = _build_caller(credential, self.snapshot)
            self._callers[key_hash] = known
        return known

    def entitlement(self, caller: Caller, api_id: str) -> Entitlement | None:
        """Find what a caller draws on for an API; None = not granted."""
        grant = self.snapshot.grants.get(f"{caller.credential.id}:{api_id}")
        return self.snapshot.entitlements[grant.entitlement_id] if grant else None

    def costs(
        self, plan: PlanVersion, route: Route, environment: Environment
    ) -> Mapping[Outcome, Cost]:
        """Return what every outcome of a route costs on a plan."""
        key = plan.id, route.id, environment
        known = self._costs.get(key)
        if known is None:
            known = self._costs[key] = build_costs(plan, route.units, environment=environment)
        return known

    def admit_public(self, route: CompiledRoute) -> Admit:
        """Return the admission of a public route."""
        known = self._public.get(route.route.id)
        if known is None:
            who = Who(api=route.api.name, route=route.route.name, path_template=route.route.path)
            cost = Cost(PUBLIC, cost_text(PUBLIC.charge, PUBLIC.reason, {}))
            known = Admit(route, who_text(who), dict.fromkeys(Outcome, cost))
            self._public[route.route.id] = known
        return known


def _build_caller(credential: Credential, snapshot: Snapshot) -> Caller:
    consumer = snapshot.consumers[credential.consumer_id]
    who = Who(
        environment=credential.environment.value,
        organization_id=consumer.organization_id,
        consumer_id=consumer.id,
        credential_id=credential.id,
    )
    lines = {
        b"X-Consumer-Username": consumer.username,
        b"X-Credential-Identifier": credential.id,
        b"X-Consumer-Custom-ID": consumer.custom_id,
    }
    return Caller(
        credential=credential,
        consumer=consumer,
        identity_lines=b"".join(
            b"%b: %b\r\n" % (name, header_value(value)) for name, value in lines.items() if value
        ),
        networks=parse_networks(credential.ip_allow),
        not_before_us=to_us(credential.not_before) if credential.not_before else 0,
        expires_us=to_us(credential.expires_at) if credential.expires_at else FOREVER_US,
        who=who,
        who_text=who_text(who),
    )


def segment_at(entitlement: Entitlement, now_us: int) -> tuple[Segment, int, int] | None:
    """Return the segment that holds the instant, with its bounds; None = none does."""
    for segment in entitlement.segments:
        start = to_us(segment.start)
        end = to_us(segment.end) if segment.end is not None else FOREVER_US
        if start <= now_us < end:
            return segment, start, end
    return None


def build_admission(
    caller: Caller, route: CompiledRoute, *, entitlement: Entitlement, plan: PlanVersion,
    costs: Mapping[Outcome, Cost], bounds: tuple[int, int], now_us: int,
) -> Admit:  # fmt: skip
    """Build what a caller takes and costs on a route while segment and windows stay the same.

    :raises NoWindow: when the snapshot holds no quota window for the instant.
    """
    units = route.route.units
    buckets = bucket_charges(plan, entitlement=entitlement, credential=caller.credential)
    windows = window_charges(plan, entitlement=entitlement, units=units, now_us=now_us)
    charged = [quota for quota in plan.quotas if units.get(quota.meter)]
    charges: tuple[ChargeRequest, ...] = (*buckets, *windows)
    who = Who(
        environment=caller.who.environment,
        organization_id=caller.who.organization_id,
        consumer_id=caller.who.consumer_id,
        credential_id=caller.who.credential_id,
        subscription_id=entitlement.subscription_id,
        plan_version_id=plan.id,
        api=route.api.name,
        route=route.route.name,
        path_template=route.route.path,
    )
    return Admit(
        route=route,
        who=who_text(who),
        costs=costs,
        charges=charges,
        policies=(
            *(policy_lines(bucket, None) for bucket in buckets),
            *(policy_lines(window, quota) for window, quota in zip(windows, charged, strict=True)),
        ),
        windows=tuple(windows),
        policy_line=policy_line(charges),
        identity_lines=caller.identity_lines,
        caller=caller,
        entitlement=entitlement,
        fail_open=plan.fail_open,
        from_us=max(bounds[0], *(w.start_us for w in windows), 0),
        until_us=min(bounds[1], *(w.end_us for w in windows), FOREVER_US),
    )


def build_costs(
    plan: PlanVersion, units: Mapping[str, int], *, environment: Environment
) -> dict[Outcome, Cost]:
    """Decide and encode every outcome of a plan at once."""
    costs = {}
    used = {meter: count for meter, count in units.items() if count}
    for outcome in Outcome:
        settlement = settle(plan, outcome, environment=environment)
        costs[outcome] = Cost(settlement, cost_text(settlement.charge, settlement.reason, used))
    return costs


def failure_cost(reason: str) -> Cost:
    """Return the cost of an answer of ours after admission (502, 504 …): always free."""
    return Cost(Settlement(Charge.FREE, reason, returned=True), cost_text(Charge.FREE, reason, {}))


def compile_snapshot(snapshot: Snapshot, options: Options) -> Compiled:
    """Check what only the gateway can check, and build the tables.

    :raises SnapshotError: with the path of the first error; the snapshot is refused as a whole.
    """
    _check_plans(snapshot)
    _check_credentials(snapshot)
    upstreams = {u.id: compile_upstream(u) for u in snapshot.upstreams.values()}
    routes = []
    for route in snapshot.routes.values():
        api = snapshot.apis[route.api_id]
        _check_route(route)
        if api.published:
            routes.append(CompiledRoute(route, api, upstreams[route.upstream_id]))
    return Compiled(snapshot, options, Router(routes))


def _check_route(route: Route) -> None:
    where = f"routes.{route.id}"
    check_path(route.path, where=f"{where}.path")
    literal = route.path.replace("{", "").replace("}", "").replace("*", "x")
    if parse_target(literal) is None or "?" in literal:
        msg = f"{where}.path: no request could have this path: {route.path!r}"
        raise SnapshotError(msg)
    if unknown := set(route.methods) - _METHODS:
        msg = f"{where}.methods: unknown {sorted(unknown)}"
        raise SnapshotError(msg)
    if route.scopes and (route.public or not all(map(SCOPE.fullmatch, route.scopes))):
        msg = f"{where}.scopes: names of scopes, on a route that asks for a key"
        raise SnapshotError(msg)


def _check_plans(snapshot: Snapshot) -> None:
    for plan in snapshot.plan_versions.values():
        if wrong := check_rate_limits(plan.rate_limits) or check_quotas(plan.quotas):
            msg = f"plan_versions.{plan.id}: {wrong}"
            raise SnapshotError(msg)


def _check_credentials(snapshot: Snapshot) -> None:
    for grant in snapshot.grants.values():
        if grant.id != f"{grant.credential_id}:{grant.api_id}":
            msg = f"grants.{grant.id}.id: must be <credential>:<api>"
            raise SnapshotError(msg)
    for credential in snapshot.credentials.values():
        try:
            parse_networks(credential.ip_allow)
        except ValueError as error:
            msg = f"credentials.{credential.id}.ip_allow: {error}"
            raise SnapshotError(msg) from error
