"""The configuration file's shape: everything an admin defines, read strictly and at once.

Pure. Each entry keeps its path, so that what the database says about it later is told at the same
place. References are by name (API, upstream, plan slugs), never by id: a file can move from one
installation to another. `docs/configuration.md` explains every field.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from gateway.contracts.snapshot import MAX_CREDENTIAL_SCOPES
from portal.core.catalog_input import (
    MAX_DAYS,
    MAX_THRESHOLD_MINOR,
    networks_of,
    read_api,
    read_consumer,
    read_meter,
    read_plan,
    read_route,
    read_upstream,
    scopes_of,
    text_of,
)
from portal.core.checked_input import MAX_MAIL_CHARS, Fields, Problem
from portal.core.plain_values import plain_problem
from portal.core.plan_limits import SLUG

FILE_VERSION: Final = 1
_CURRENCY: Final = re.compile(r"[A-Z]{3}")
_NAME: Final = re.compile(r"[^\x00-\x1f]{1,120}")
_LINE: Final = re.compile(r"[^\x00-\x1f]{0,300}")
_KEY_NAME: Final = re.compile(r"[^\x00-\x1f]{1,80}")
_CUSTOM_ID: Final = re.compile(r"[^\x00-\x1f]{0,120}")
_MAIL: Final = re.compile(rf"[^\x00-\x1f]{{0,{MAX_MAIL_CHARS}}}")
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_KEY_PREFIX: Final = re.compile(r"[A-Za-z0-9_]{1,16}")
_LAST4: Final = re.compile(r"[A-Za-z0-9]{4}")
_COUNTRY: Final = re.compile(r"[A-Z]{2}|")


@dataclass(frozen=True, slots=True)
class Entry:
    """One object of the file: where it stands, and the model's field values."""

    path: str
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RouteEntry(Entry):
    upstream: str


@dataclass(frozen=True, slots=True)
class ApiEntry(Entry):
    routes: tuple[RouteEntry, ...]


@dataclass(frozen=True, slots=True)
class VersionEntry(Entry):
    """`values` are the arguments of `plan_version_save`; `routes` in limits are `api/route`."""

    number: int
    published: bool


@dataclass(frozen=True, slots=True)
class PlanEntry(Entry):
    apis: tuple[str, ...]
    archived: bool
    versions: tuple[VersionEntry, ...]


@dataclass(frozen=True, slots=True)
class ConsumerEntry(Entry):
    credentials: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class SubscriptionEntry:
    path: str
    plan: str
    version: int
    starts_at: datetime | None
    cancelled: bool


@dataclass(frozen=True, slots=True)
class OrganizationEntry(Entry):
    consumers: tuple[ConsumerEntry, ...]
    subscriptions: tuple[SubscriptionEntry, ...]


@dataclass(slots=True)
class Config:
    meters: list[Entry] = field(default_factory=list)
    upstreams: list[Entry] = field(default_factory=list)
    apis: list[ApiEntry] = field(default_factory=list)
    plans: list[PlanEntry] = field(default_factory=list)
    organizations: list[OrganizationEntry] = field(default_factory=list)


def read_config(document: object) -> Config | tuple[Problem, ...]:
    """Read a whole file; return it, or every problem at once.

    >>> read_config({"version": 1, "meters": [{"slug": "x"}]})
    (Problem(path='meters[0].name', code='required', message='is required'),)
    """
    problems: list[Problem] = []
    known = ("version", "meters", "upstreams", "apis", "plans", "organizations")
    source = Fields.read(document, "", problems, known)
    if source.values.get("version") != FILE_VERSION:
        source.refuse("version", "file_version", f"must be {FILE_VERSION}")
    config = Config(
        meters=[Entry(p, read_meter(v, p, problems)) for p, v in source.items("meters")],
        upstreams=[Entry(p, read_upstream(v, p, problems)) for p, v in source.items("upstreams")],
        apis=[_api(v, p, problems) for p, v in source.items("apis")],
        plans=[_plan(v, p, problems) for p, v in source.items("plans")],
        organizations=[_organization(v, p, problems) for p, v in source.items("organizations")],
    )
    _check_names(config, problems)
    return tuple(problems) or config


def _split(value: object, names: tuple[str, ...]) -> tuple[object, dict[str, object]]:
    """Take the parts of an entry that are no field of its model."""
    if not isinstance(value, dict):
        return value, {}
    own = {name: item for name, item in value.items() if name not in names}
    return own, {name: value[name] for name in names if name in value}


def _api(value: object, path: str, problems: list[Problem]) -> ApiEntry:
    own, rest = _split(value, ("routes",))
    source = Fields(rest, path, problems)
    routes = tuple(_route(v, p, problems) for p, v in source.items("routes"))
    return ApiEntry(path, read_api(own, path, problems), routes)


def _route(value: object, path: str, problems: list[Problem]) -> RouteEntry:
    own, rest = _split(value, ("upstream",))
    upstream = text_of(Fields(rest, path, problems), "upstream", SLUG)
    return RouteEntry(path, read_route(own, path, problems), upstream)


def _plan(value: object, path: str, problems: list[Problem]) -> PlanEntry:
    own, rest = _split(value, ("apis", "archived", "versions"))
    source = Fields(rest, path, problems)
    return PlanEntry(
        path,
        read_plan(own, path, problems),
        tuple(_texts(source, "apis", SLUG)),
        source.flag("archived", default=False),
        tuple(_version(v, p, problems) for p, v in source.items("versions")),
    )


def _version(value: object, path: str, problems: list[Problem]) -> VersionEntry:
    known = ("number", "published", "currency", "trial_days", "past_due_grace_days", "note")
    source = Fields.read(value, path, problems, (*known, "threshold_minor", "terms", "limits"))
    number = source.integer("number", default=0, low=1, high=1_000_000)
    if not source.has("number"):
        source.refuse("number", "required", "is required")
    values: dict[str, Any] = {
        "currency": source.text("currency", pattern=_CURRENCY),
        "trial_days": source.integer("trial_days", default=0, low=0, high=MAX_DAYS),
        "past_due_grace_days": source.integer(
            "past_due_grace_days", default=7, low=0, high=MAX_DAYS
        ),
        "threshold_minor": (
            source.integer("threshold_minor", default=0, low=1, high=MAX_THRESHOLD_MINOR)
            if source.has("threshold_minor")
            else None
        ),
        "note": source.text("note", pattern=_LINE, required=False),
    }
    for name in ("terms", "limits"):
        held = source.values.get(name) or {}
        if not isinstance(held, dict):
            source.refuse(name, "not_an_object", "must be an object")
            held = {}
        if problem := plain_problem(held):
            source.refuse(name, "not_plain", problem)
        values[name] = held
    return VersionEntry(path, values, number, source.flag("published", default=False))


def _organization(value: object, path: str, problems: list[Problem]) -> OrganizationEntry:
    known = ("slug", "name", "billing_email", "country", "consumers", "subscriptions")
    source = Fields.read(value, path, problems, known)
    return OrganizationEntry(
        path,
        {
            "slug": text_of(source, "slug", SLUG),
            "name": source.text("name", pattern=_NAME),
            "billing_email": source.text("billing_email", pattern=_MAIL, required=False),
            "country": source.text("country", pattern=_COUNTRY, required=False),
        },
        tuple(_consumer(v, p, problems) for p, v in source.items("consumers")),
        tuple(_subscription(v, p, problems) for p, v in source.items("subscriptions")),
    )


def _consumer(value: object, path: str, problems: list[Problem]) -> ConsumerEntry:
    known = ("username", "name", "custom_id", "is_active", "credentials")
    source = Fields.read(value, path, problems, known)
    return ConsumerEntry(
        path,
        {
            **read_consumer(source, username_required=True),
            "is_active": source.flag("is_active", default=True),
        },
        tuple(Entry(p, _credential(v, p, problems)) for p, v in source.items("credentials")),
    )


def _credential(value: object, path: str, problems: list[Problem]) -> dict[str, Any]:
    known = ("name", "environment", "key_hash", "prefix", "last4", "scopes", "ip_allow")
    times = ("not_before", "expires_at", "revoked_at")
    source = Fields.read(value, path, problems, (*known, *times))
    return {
        "name": source.text("name", pattern=_KEY_NAME),
        "environment": source.choice("environment", ("live", "test"), default="live"),
        "key_hash": source.text("key_hash", pattern=_HASH),
        "prefix": source.text("prefix", pattern=_KEY_PREFIX),
        "last4": source.text("last4", pattern=_LAST4),
        "scopes": scopes_of(source, at_most=MAX_CREDENTIAL_SCOPES),
        "ip_allow": _networks(source),
        **{name: source.optional_time(name) for name in times},
    }


def _subscription(value: object, path: str, problems: list[Problem]) -> SubscriptionEntry:
    known = ("plan", "version", "starts_at", "cancelled")
    source = Fields.read(value, path, problems, known)
    return SubscriptionEntry(
        path=path,
        plan=text_of(source, "plan", SLUG),
        version=source.integer("version", default=0, low=1, high=1_000_000),
        starts_at=source.optional_time("starts_at"),
        cancelled=source.flag("cancelled", default=False),
    )


def _networks(source: Fields) -> list[str]:
    try:
        return list(networks_of(list(_texts(source, "ip_allow", _LINE))))
    except ValueError as error:
        source.refuse("ip_allow", "not_an_address", str(error))
    return []


def _texts(source: Fields, name: str, pattern: re.Pattern[str]) -> Iterator[str]:
    for index, (_, item) in enumerate(source.items(name)):
        if isinstance(item, str) and pattern.fullmatch(item):
            yield item
        else:
            source.refuse(
                f"{name}[{index}]", "not_a_text", f"must be a text like {pattern.pattern}"
            )


def _check_names(config: Config, problems: list[Problem]) -> None:
    """Refuse a name that stands twice in its list."""
    lists: list[tuple[str, list[Any]]] = [
        ("slug", list(config.meters)),
        ("name", list(config.upstreams)),
        ("slug", list(config.apis)),
        ("slug", list(config.plans)),
        ("slug", list(config.organizations)),
        ("username", [c for o in config.organizations for c in o.consumers]),
        *(("name", list(api.routes)) for api in config.apis),
    ]
    for key, entries in lists:
        seen: set[str] = set()
        for entry in entries:
            name = entry.values[key]
            if name and name in seen:
                problems.append(Problem(f"{entry.path}.{key}", "duplicate", "stands here twice"))
            seen.add(name)
