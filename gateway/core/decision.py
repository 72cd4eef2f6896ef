"""The one decision: (tables, request facts, now) -> Admit | Deny | UsageQuery.

Synchronous and pure but for the tables' own memory. `read_request` is the edge (steps 1 of
`gateway.md` §1: refuse before anything looks), `decide` is routing, identity and plan (3 to 5) and
names the charges of step 7; taking them is the quota port's work.
"""

from dataclasses import dataclass

from gateway.contracts.api_keys import ParsedKey, key_hash, parse_key
from gateway.contracts.snapshot import (
    Entitlement,
    EntitlementState,
    Environment,
    PlanVersion,
    Quota,
)
from gateway.core.addresses import is_within
from gateway.core.auth import MALFORMED, NoKey, find_key
from gateway.core.charges import ChargeRequest
from gateway.core.compile import (
    Admit,
    Caller,
    Compiled,
    CompiledRoute,
    build_admission,
    segment_at,
)
from gateway.core.events import Who, WhoText, who_text
from gateway.core.headers import (
    RawHeaders,
    RequestHeaders,
    check_request_headers,
    scan_request,
)
from gateway.core.limits import bucket_charges
from gateway.core.quota import NoWindow, all_windows
from gateway.core.routing import MethodNotAllowed
from gateway.core.target import MAX_TARGET_CHARS, Target, parse_target

_REFUSED_METHODS = ("CONNECT", "TRACE")


@dataclass(slots=True, kw_only=True)
class Facts:
    """A request that passed the edge. `host` is lower-case, without a port."""

    method: str
    target: Target
    headers: RequestHeaders
    host: str
    client_ip: str
    body_length: int | None  # None = chunked; 0 = none


@dataclass(frozen=True, slots=True, kw_only=True)
class Deny:
    """A refusal: a normal answer. `who` is set once the credential is known (one event each).

    reason    for the auth log; the client only sees the code
    """

    code: str
    detail: str = ""
    reason: str = ""
    shown: str = ""
    allow: str = ""
    upgrade_url: str = ""
    caller: Caller | None = None
    who: WhoText | None = None
    route: CompiledRoute | None = None


@dataclass(frozen=True, slots=True)
class UsageLine:
    """What a caller draws on, with a charge of zero units per policy of the plan."""

    entitlement: Entitlement
    plan: PlanVersion
    apis: tuple[str, ...]
    charges: tuple[ChargeRequest, ...]
    quotas: tuple[Quota | None, ...]


@dataclass(frozen=True, slots=True)
class UsageQuery:
    caller: Caller
    lines: tuple[UsageLine, ...]


def read_request(
    compiled: Compiled, *, method: str, target: str, raw: RawHeaders, http_1_0: bool
) -> Facts | Deny:
    """Check target, host, framing and header bytes (§3, §4); the caller fills in `client_ip`."""
    if len(target) > MAX_TARGET_CHARS:
        return Deny(code="target_too_long")
    parsed = None if method in _REFUSED_METHODS else parse_target(target)
    if parsed is None:
        return Deny(code="target_refused", detail="The target is not in an accepted form.")
    headers = scan_request(raw, compiled.roles)
    host = compiled.hosts(headers.host[0]) if len(headers.host) == 1 else ""
    if not host:
        return Deny(code="request_malformed", detail="Exactly one valid Host is needed.")
    if wrong := check_request_headers(raw, headers, http_1_0=http_1_0):
        return Deny(code="request_malformed", detail=wrong)
    length = None if headers.is_chunked else headers.content_length or 0
    return Facts(
        method=method, target=parsed, headers=headers, host=host, client_ip="", body_length=length
    )


def decide(compiled: Compiled, facts: Facts, now_us: int) -> Admit | Deny | UsageQuery:
    """Decide about a request admitted at `now_us` (product time)."""
    if facts.target.path == compiled.options.usage_path:
        return _usage(compiled, facts, now_us)
    match = compiled.router.match(method=facts.method, host=facts.host, path=facts.target.path)
    if match is None:
        return Deny(code="route_not_found")
    if isinstance(match, MethodNotAllowed):
        return Deny(code="method_not_allowed", allow=match.allow)
    too_large = facts.body_length is not None and facts.body_length > match.route.max_body_bytes
    if match.route.public:
        if too_large:
            return _body_too_large(match)
        return compiled.admit_public(match)
    caller = identify(compiled, facts, now_us, in_query=match.route.query_key)
    if isinstance(caller, Deny):
        return caller
    known = caller.admissions.get(match.route.id)
    if known is None or not known.from_us <= now_us < known.until_us:
        fresh = _admission(compiled, caller, match, now_us)
        if isinstance(fresh, Deny):
            return fresh
        caller.admissions[match.route.id] = known = fresh
    if too_large:
        return _body_too_large(match, caller=caller, who=known.who)
    return known


def _body_too_large(
    route: CompiledRoute, *, caller: Caller | None = None, who: WhoText | None = None
) -> Deny:
    detail = f"At most {route.route.max_body_bytes} bytes are accepted here."
    return Deny(code="body_too_large", detail=detail, caller=caller, who=who, route=route)


def identify(compiled: Compiled, facts: Facts, now_us: int, *, in_query: bool) -> Caller | Deny:
    """Find the caller by its API key. The public code never says more than `credential_invalid`.

    A key's freshness goes by the wall clock (`architecture.md` §7).
    """
    text = find_key(
        facts.headers, facts.target.query, names=compiled.roles.key_names, in_query=in_query
    )
    if isinstance(text, NoKey):
        return Deny(code=text.code, reason=text.reason)
    caller = compiled.caller(key_hash(text))
    parsed = _parsed(caller, text)
    if parsed is None:
        return Deny(code=MALFORMED.code, reason=MALFORMED.reason)
    wall_us = now_us - compiled.snapshot.clock_offset_us
    reason = _unusable(caller, parsed.kind, sandbox=compiled.snapshot.sandbox, wall_us=wall_us)
    if caller is None or reason:
        return Deny(code="credential_invalid", reason=reason, shown=parsed.shown)
    if caller.networks and not is_within(facts.client_ip, caller.networks):
        return Deny(code="ip_forbidden", caller=caller, who=caller.who_text, shown=parsed.shown)
    return caller


def _parsed(caller: Caller | None, text: str) -> ParsedKey | None:
    """Check a key's form; for a known one once, since its hash says that the text is the same."""
    if caller is None:
        return parse_key(text)
    if caller.parsed is None:
        caller.parsed = parse_key(text)
    return caller.parsed


def _unusable(caller: Caller | None, kind: str, *, sandbox: bool, wall_us: int) -> str:
    """Return why a key may not be used, for the auth log; empty = it may."""
    if caller is None:
        return "unknown"
    test = caller.credential.environment is Environment.TEST
    if test != (kind == "test") or (not test and sandbox != (kind == "sbx")):
        return "other environment"
    if not caller.credential.active or not caller.consumer.active:
        return "inactive"
    if wall_us >= caller.expires_us:
        return "expired"
    return "not yet valid" if wall_us < caller.not_before_us else ""


def _admission(
    compiled: Compiled, caller: Caller, route: CompiledRoute, now_us: int
) -> Admit | Deny:
    """Ask scopes, then the plan; the answer is remembered, so that later calls ask nothing."""

    def deny(code: str, detail: str = "", plan_version_id: str = "") -> Deny:
        who = route_who(caller, route, entitlement, plan_version_id)
        helps = code != "insufficient_scope"  # a plan gives no scope
        url = entitlement.upgrade_url if entitlement and helps else ""
        return Deny(code=code, detail=detail, caller=caller, who=who, route=route, upgrade_url=url)

    entitlement = compiled.entitlement(caller, route.api.id)
    if missing := sorted(set(route.route.scopes).difference(caller.credential.scopes)):
        return deny("insufficient_scope", f"The credential lacks: {', '.join(missing)}.")
    if entitlement is None:
        return deny("not_in_plan", "No plan of this credential covers this API.")
    if entitlement.state is EntitlementState.PAST_DUE_BLOCKED:
        return deny("subscription_past_due")
    current = segment_at(entitlement, now_us)
    if entitlement.state is EntitlementState.INACTIVE or current is None:
        return deny("subscription_inactive")
    segment, start, end = current
    plan = compiled.snapshot.plan_versions[segment.plan_version_id]
    if plan.routes is not None and route.route.id not in plan.routes:
        return deny("not_in_plan", plan_version_id=plan.id)
    costs = compiled.costs(plan, route.route, entitlement.environment)
    try:
        return build_admission(
            caller, route, entitlement=entitlement, plan=plan, costs=costs, bounds=(start, end),
            now_us=now_us,
        )  # fmt: skip
    except NoWindow:
        return deny("quota_unavailable", "The quota's window is not known here.", plan.id)


def route_who(
    caller: Caller, route: CompiledRoute, entitlement: Entitlement | None, plan_version_id: str
) -> WhoText:
    """Encode whom a refusal on a route is about."""
    return who_text(
        Who(
            environment=caller.who.environment,
            organization_id=caller.who.organization_id,
            consumer_id=caller.who.consumer_id,
            credential_id=caller.who.credential_id,
            subscription_id=entitlement.subscription_id if entitlement else "",
            plan_version_id=plan_version_id,
            api=route.api.name,
            route=route.route.name,
            path_template=route.route.path,
        )
    )


def _usage(compiled: Compiled, facts: Facts, now_us: int) -> Deny | UsageQuery:
    if facts.method not in ("GET", "HEAD"):
        return Deny(code="method_not_allowed", allow="GET, HEAD")
    caller = identify(compiled, facts, now_us, in_query=False)
    if isinstance(caller, Deny):
        return caller
    apis: dict[str, list[str]] = {}
    for api in compiled.snapshot.apis.values():
        entitlement = compiled.entitlement(caller, api.id)
        if entitlement is not None:
            apis.setdefault(entitlement.id, []).append(api.name)
    try:
        lines = [
            line
            for entitlement_id, names in apis.items()
            if (line := _usage_line(compiled, caller, entitlement_id, names, now_us)) is not None
        ]
    except NoWindow:
        return Deny(code="quota_unavailable", caller=caller, who=caller.who_text)
    return UsageQuery(caller, tuple(lines))


def _usage_line(
    compiled: Compiled, caller: Caller, entitlement_id: str, apis: list[str], now_us: int
) -> UsageLine | None:
    entitlement = compiled.snapshot.entitlements[entitlement_id]
    current = segment_at(entitlement, now_us)
    if current is None:
        return None
    plan = compiled.snapshot.plan_versions[current[0].plan_version_id]
    buckets = bucket_charges(plan, entitlement=entitlement, credential=caller.credential, units=0)
    windows = all_windows(plan, entitlement=entitlement, now_us=now_us)
    return UsageLine(
        entitlement=entitlement,
        plan=plan,
        apis=tuple(sorted(apis)),
        charges=(*buckets, *windows),
        quotas=(*[None] * len(buckets), *plan.quotas),
    )
