"""The snapshot: everything a gateway needs to decide, immutable and versioned.

Owns the wire shape (JSON) and the frozen dataclasses. The portal builds it, the gateway polls it
(`GET /internal/v1/snapshot?after=N`), checks it as a whole and compiles it into look-up tables.
Nothing here does I/O, and nothing here resolves a price: limits only.

On the wire a snapshot is `{"schema", "version", "base_version", "hash", "clock", "upserts",
"deletes"}`. `base_version: null` means full; otherwise upserts and deletes apply to that version
and `hash` is the hash of the result. Times are ISO-8601 UTC with microseconds and `Z`.

A field that joined after the first release is `LATER`: it is neither written nor hashed while it
holds its default. So a document from before keeps its hash, and an older gateway takes a newer
portal's document until the field is first used; then it refuses and keeps its last good one.

**Scopes.** A route may require scopes; a credential holds a set of them. A call is let in only if
the credential holds **all** that its route requires, live or test key alike; else 403
`insufficient_scope`, whose detail names the missing ones: one event, free, no units taken. A
route requires none unless it says so, a credential made without choosing holds none. A public
route asks for no credential, so it cannot require a scope. What a credential asks about itself
(`/me/usage`) needs none.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from datetime import datetime
from enum import StrEnum
from types import NoneType, UnionType
from typing import Any, Final, get_args, get_origin, get_type_hints

from gateway.contracts.access_log import Charge, format_time, parse_time

SCHEMA_VERSION: Final = "v1"
SNAPSHOT_PATH: Final = "/internal/v1/snapshot"
NODE_HEADER: Final = "Tollway-Node"
BOOT_HEADER: Final = "Tollway-Boot"
WORKER_HEADER: Final = "Tollway-Worker"
MAX_POLL_S: Final = 25
MAX_OFFSET_US: Final = 100 * 366 * 86_400_000_000
SCOPE: Final = re.compile(r"[a-z][a-z0-9_:.-]{0,63}")
MAX_ROUTE_SCOPES: Final = 20
MAX_CREDENTIAL_SCOPES: Final = 100
LATER: Final = {"later": True}  # metadata of a field that joined after the first release


class SnapshotError(ValueError):
    """The snapshot is refused as a whole; the text carries the path of the first error."""


class Environment(StrEnum):
    LIVE = "live"
    TEST = "test"


class Outcome(StrEnum):
    """What the count policy tells apart (`architecture.md` §3 Charge)."""

    SUCCESS = "2xx"
    REDIRECT = "3xx"
    CLIENT_ERROR = "4xx"
    UPSTREAM_429 = "429"
    SERVER_ERROR = "5xx"
    CACHED = "cached"
    ABORTED = "aborted"
    REFUSED = "refused"


DEFAULT_COUNT_POLICY: Final[dict[Outcome, Charge]] = {
    Outcome.SUCCESS: Charge.BILLED,
    Outcome.REDIRECT: Charge.BILLED,
    Outcome.CLIENT_ERROR: Charge.COUNTED,
    Outcome.UPSTREAM_429: Charge.COUNTED,
    Outcome.SERVER_ERROR: Charge.FREE,
    Outcome.CACHED: Charge.BILLED,
    Outcome.ABORTED: Charge.FREE,
    Outcome.REFUSED: Charge.FREE,
}
"""`aborted` = before the upstream answered; later aborts count as their status."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    id: str
    name: str  # slug, stamped into events
    published: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """Where requests go. `targets` are `http(s)://host:port` with a weight >= 0."""

    id: str
    targets: dict[str, int]
    base_path: str = ""
    connect_timeout_ms: int = 2_000
    send_timeout_ms: int = 30_000
    read_timeout_ms: int = 30_000
    retries: int = 1  # on a fresh connection, idempotent methods and connect errors only
    host_header: str = ""  # empty = the target's own


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One route. `path` is exact (`/a/b`), a template (`/a/{id}`) or a prefix (`/a/*`).

    units     meter -> units that one call costs, integers >= 0
    methods   empty = every method
    scopes    a credential must hold all of them (see above); each matches `SCOPE`
    """

    id: str
    api_id: str
    name: str
    upstream_id: str
    path: str
    methods: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()  # exact or `*.example.com`; empty = every host
    priority: int = 0
    public: bool = False
    strip_prefix: str = ""
    units: dict[str, int] = field(default_factory=lambda: {"requests": 1})
    max_body_bytes: int = 10_485_760
    read_timeout_ms: int = 0  # 0 = the upstream's
    query_key: bool = False  # allow the key in the query parameter `apikey`
    scopes: tuple[str, ...] = field(default=(), metadata=LATER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumer:
    id: str
    organization_id: str
    username: str
    custom_id: str = ""
    active: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """An API key: `key_hash` is the SHA-256 of the whole key, hex."""

    id: str  # the public id, sent upward as X-Credential-Identifier
    consumer_id: str
    environment: Environment
    key_hash: str
    active: bool = True
    not_before: datetime | None = None
    expires_at: datetime | None = None  # exclusive
    ip_allow: tuple[str, ...] = ()  # CIDR; empty = every address
    scopes: tuple[str, ...] = ()  # what it may do beyond routes that require none


class WindowKind(StrEnum):
    BILLING_PERIOD = "billing_period"  # [start, end) of the entitlement's `periods`
    CALENDAR_MONTH = "calendar_month"  # shipped per quota in `windows`
    DAY = "day"  # fixed length: the gateway evaluates the rule
    HOUR = "hour"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """`[start, end)` in UTC."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """The plan's allowance for one meter and its graduated response, in percent of `quota`.

    block_at_percent   100 = block at the quota; higher = buffer and overage; 0 = never block
    """

    meter: str
    quota: int
    window: WindowKind = WindowKind.BILLING_PERIOD
    alerts_at: tuple[int, ...] = (80, 95)
    soft_limit_percent: int = 100
    buffer_percent: int = 100
    block_at_percent: int = 100
    windows: tuple[Interval, ...] = ()  # calendar windows: the current one and the next


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """A token bucket: `burst` at once, then `rate` per `per_s` seconds, refilled exactly."""

    name: str
    rate: int
    per_s: int
    burst: int
    key: str = "subscription"  # or "consumer", "credential"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanVersion:
    """A published version as far as limits need it.

    routes   ids of the routes the plan grants; None = every route of the APIs it covers
    """

    id: str
    plan: str  # slug
    version: int
    rate_limits: tuple[RateLimit, ...] = ()
    quotas: tuple[Quota, ...] = ()
    count_policy: dict[Outcome, Charge] = field(default_factory=lambda: dict(DEFAULT_COUNT_POLICY))
    routes: tuple[str, ...] | None = None
    fail_open: bool = False  # quota store away: overage plans stay open, blocking ones do not


class EntitlementState(StrEnum):
    ACTIVE = "active"
    PAST_DUE_BLOCKED = "past_due_blocked"  # 402
    INACTIVE = "inactive"  # paused or ended: 403


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A stretch `[start, end)` of a subscription on one plan version; scheduled ones included."""

    id: str
    start: datetime
    end: datetime | None
    plan_version_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entitlement:
    """What calls draw on: a subscription, or an organization's test environment.

    id         the counters' key: the subscription's id, or `test:<organization>`
    periods    the current billing period and the next, for quota windows
    """

    id: str
    organization_id: str
    environment: Environment
    segments: tuple[Segment, ...]
    subscription_id: str = ""  # empty in the test environment
    state: EntitlementState = EntitlementState.ACTIVE
    periods: tuple[Interval, ...] = ()
    upgrade_url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A credential may call an API, drawing on an entitlement; resolved when built."""

    id: str  # `<credential>:<api>`
    credential_id: str
    api_id: str
    entitlement_id: str


KINDS: Final[dict[str, type]] = {
    "apis": Api,
    "upstreams": Upstream,
    "routes": Route,
    "consumers": Consumer,
    "credentials": Credential,
    "plan_versions": PlanVersion,
    "entitlements": Entitlement,
    "grants": Grant,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A materialized snapshot: id -> object, per kind.

    clock_offset_us   product time = wall clock + offset (0 under the real clock)
    sandbox           simulated clock: only `tw_sbx_…` and test keys are accepted
    """

    version: int
    hash: str
    clock_offset_us: int
    sandbox: bool
    apis: Mapping[str, Api]
    upstreams: Mapping[str, Upstream]
    routes: Mapping[str, Route]
    consumers: Mapping[str, Consumer]
    credentials: Mapping[str, Credential]
    plan_versions: Mapping[str, PlanVersion]
    entitlements: Mapping[str, Entitlement]
    grants: Mapping[str, Grant]


def to_json(value: Any) -> Any:
    """Turn a contract object into plain JSON; defaults are written out, but those of `LATER`."""
    if is_dataclass(value) and not isinstance(value, type):
        return {
            f.name: to_json(getattr(value, f.name))
            for f in fields(value)
            if not (f.metadata and getattr(value, f.name) == f.default)
        }
    if isinstance(value, datetime):
        return format_time(value)
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_json(item) for item in value]
    return value


def content_hash(kinds: Mapping[str, Mapping[str, Any]], *, clock: Mapping[str, Any]) -> str:
    """Hash the materialized objects (already JSON) and the clock; order does not matter."""
    body = json.dumps({"clock": clock, "kinds": kinds}, sort_keys=True, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(body.encode()).hexdigest()


def build_document(
    *, version: int, clock_offset_us: int, sandbox: bool, objects: Mapping[str, list[Any]]
) -> dict[str, Any]:
    """Build a full snapshot document from contract objects per kind (a key of `KINDS`)."""
    kinds = {kind: {o.id: to_json(o) for o in objects.get(kind, [])} for kind in KINDS}
    clock = {"offset_us": clock_offset_us, "sandbox": sandbox}
    return {
        "schema": SCHEMA_VERSION,
        "version": version,
        "base_version": None,
        "hash": content_hash(kinds, clock=clock),
        "clock": clock,
        "upserts": {kind: list(items.values()) for kind, items in kinds.items()},
        "deletes": {},
    }


def _fail(path: str, why: str) -> SnapshotError:
    return SnapshotError(f"{path}: {why}")


def _read(hint: Any, value: Any, path: str) -> Any:  # noqa: C901 - one branch per JSON shape
    origin = get_origin(hint)
    if origin is UnionType:
        inner = next(arg for arg in get_args(hint) if arg is not NoneType)
        return None if value is None else _read(inner, value, path)
    if origin is tuple:
        if not isinstance(value, list):
            raise _fail(path, "not a list")
        return tuple(_read(get_args(hint)[0], v, f"{path}[{i}]") for i, v in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise _fail(path, "not an object")
        key_type, item_type = get_args(hint)
        return {
            _read(key_type, k, path): _read(item_type, v, f"{path}.{k}") for k, v in value.items()
        }
    if is_dataclass(hint):
        return _read_object(hint, value, path)  # type: ignore[arg-type]
    try:
        if hint is datetime:
            return parse_time(value)
        if issubclass(hint, StrEnum):
            return hint(value)
    except (ValueError, AttributeError, TypeError) as error:
        raise _fail(path, str(error)) from error
    if type(value) is not hint:
        raise _fail(path, f"not {hint.__name__}: {value!r}")
    if hint is int and value < 0 and not path.endswith(".priority"):
        raise _fail(path, f"negative: {value}")
    return value


_HINTS: Final[dict[type, dict[str, Any]]] = {}


def _read_object(cls: type, value: Any, path: str) -> Any:
    if not isinstance(value, dict):
        raise _fail(path, "not an object")
    hints = _HINTS.setdefault(cls, get_type_hints(cls))
    for name in value:
        if name not in hints:
            msg = f"{path}.{name}"
            raise _fail(msg, "unknown field")
    for f in fields(cls):
        if f.name not in value and f.default is MISSING and f.default_factory is MISSING:
            msg = f"{path}.{f.name}"
            raise _fail(msg, "missing")
    return cls(**{n: _read(hints[n], v, f"{path}.{n}") for n, v in value.items()})


def _read_clock(document: Mapping[str, Any]) -> Mapping[str, Any]:
    clock = document.get("clock")
    if not isinstance(clock, dict) or type(clock.get("offset_us")) is not int:
        raise _fail("clock.offset_us", "missing")
    if abs(clock["offset_us"]) > MAX_OFFSET_US:
        raise _fail("clock.offset_us", "more than a hundred years")
    if type(clock.get("sandbox", False)) is not bool:
        raise _fail("clock.sandbox", "not bool")
    return clock


def _listed(document: Mapping[str, Any], part: str, kind: str) -> list[Any]:
    kinds = document.get(part, {})
    if not isinstance(kinds, dict):
        raise _fail(part, "not an object")
    items = kinds.get(kind, [])
    if not isinstance(items, list):
        msg = f"{part}.{kind}"
        raise _fail(msg, "not a list")
    return items


def parse_document(document: Any, *, base: Snapshot | None = None) -> Snapshot:
    """Check a document as a whole and materialize it on `base` (None for a full one).

    :raises SnapshotError: for a wrong schema, base, hash, reference, or any wrong field.
    """
    if not isinstance(document, dict) or document.get("schema") != SCHEMA_VERSION:
        raise _fail("schema", f"this reads {SCHEMA_VERSION}")
    base_version = document.get("base_version")
    if base_version is not None and (base is None or base.version != base_version):
        raise _fail("base_version", f"{base_version} is not the version held here")
    clock = _read_clock(document)
    if type(document.get("version")) is not int or document["version"] < 0:
        raise _fail("version", "not a number")
    kinds: dict[str, dict[str, Any]] = {}
    for kind, cls in KINDS.items():
        held = dict(getattr(base, kind)) if base is not None and base_version is not None else {}
        for name in _listed(document, "deletes", kind):
            held.pop(_read(str, name, f"deletes.{kind}"), None)
        for index, item in enumerate(_listed(document, "upserts", kind)):
            read = _read_object(cls, item, f"{kind}[{index}]")
            held[read.id] = read
        kinds[kind] = held
    expected = content_hash(
        {kind: {i: to_json(o) for i, o in items.items()} for kind, items in kinds.items()},
        clock=clock,
    )
    if document.get("hash") != expected:
        raise _fail("hash", f"{document.get('hash')} but the content gives {expected}")
    snapshot = Snapshot(
        version=document["version"],
        hash=expected,
        clock_offset_us=clock["offset_us"],
        sandbox=clock.get("sandbox", False),
        **kinds,
    )
    check_references(snapshot)
    return snapshot


_REFERENCES: Final = (
    ("routes", "api_id", "apis"),
    ("routes", "upstream_id", "upstreams"),
    ("credentials", "consumer_id", "consumers"),
    ("grants", "credential_id", "credentials"),
    ("grants", "api_id", "apis"),
    ("grants", "entitlement_id", "entitlements"),
)


def check_references(snapshot: Snapshot) -> None:
    """Refuse a snapshot in which an object names another that is not there.

    :raises SnapshotError: with the path of the first dangling reference.
    """
    for kind, name, target in _REFERENCES:
        held = getattr(snapshot, target)
        for item in getattr(snapshot, kind).values():
            if getattr(item, name) not in held:
                msg = f"{kind}.{item.id}.{name}"
                raise _fail(msg, f"no {target} {getattr(item, name)!r}")
    for entitlement in snapshot.entitlements.values():
        for segment in entitlement.segments:
            if segment.plan_version_id not in snapshot.plan_versions:
                msg = f"entitlements.{entitlement.id}.segments"
                raise _fail(
                    msg,
                    f"no plan version {segment.plan_version_id!r}",
                )
