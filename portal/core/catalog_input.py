"""Reads what is defined: APIs, upstreams, routes, meters, plans, applications; strictly, at once.

Pure. One reader per kind serves the forms, the OpenAPI import and the configuration file. Each
returns the model's field values; problems go to the list that is passed in, with their paths.
"""

import ipaddress
import re
from collections.abc import Sequence
from math import gcd
from typing import Any, Final
from urllib.parse import urlsplit

from gateway.contracts.snapshot import MAX_ROUTE_SCOPES, SCOPE
from portal.core.checked_input import Fields, Problem
from portal.core.plan_limits import MAX_UNITS, SLUG

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
RESERVED_PATHS: Final = ("/me/usage", "/_tollway")
MAX_WEIGHTS: Final = 10_000  # of an upstream, divided by what they share: a gateway's one cycle
MAX_TIMEOUT_MS: Final = 600_000
MAX_NETWORKS: Final = 100  # that one key may be used from; every gateway holds all of them
MAX_DAYS: Final = 3_650  # of a trial or a grace period
MAX_THRESHOLD_MINOR: Final = 10**12
_NAME: Final = re.compile(r"[^\x00-\x1f]{1,120}")
_TEXT: Final = re.compile(r"(?s).{0,5000}")
_LINE: Final = re.compile(r"[^\x00-\x1f]{0,300}")
_OWN_ID: Final = re.compile(r"[^\x00-\x1f]{0,120}")
_LITERAL: Final = re.compile(r"[A-Za-z0-9._~!$&'()*+,=:@-]+")
_PARAMETER: Final = re.compile(r"\{[A-Za-z_][A-Za-z0-9_]*\}")
_UNIT: Final = re.compile(r"[^\x00-\x1f]{1,40}")
_SHORT: Final = r"(?=.{0,200}\Z)"  # as long as the column
_PREFIX: Final = re.compile(_SHORT + r"(/[A-Za-z0-9._~-]+)*/?")
_HOST: Final = r"(\*\.)?[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*"
_TARGET: Final = re.compile(r"https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
_HOST_LABELS: Final = re.compile(_HOST)
_HOST_OR_NONE: Final = re.compile(f"{_SHORT}({_HOST})?")
_SAYS: Final = {
    SLUG: "must be a short name of a-z, 0-9, - and _",
    _NAME: "must be a name of 1 to 120 characters on one line",
    _LINE: "must be one line of at most 300 characters",
    _OWN_ID: "must be one line of at most 120 characters",
    _UNIT: "must be a word of 1 to 40 characters",
    _PREFIX: "must be a path like /v1 of at most 200 characters",
    _HOST_OR_NONE: "must be a host name of at most 200 characters",
}
"""What each pattern asks for, in words."""
_SCOPE_SAYS: Final = "must be a name like orders:read, of a-z first, then a-z, 0-9 and _ . : -"


def read_api(value: object, path: str, problems: list[Problem]) -> dict[str, Any]:
    known = ("name", "slug", "description", "is_published", "sample_path")
    source = Fields.read(value, path, problems, known)
    sample = text_of(source, "sample_path", _LINE, required=False)
    if sample and not sample.startswith("/"):
        source.refuse("sample_path", "path_start", "must begin with /")
    return {
        "name": text_of(source, "name", _NAME),
        "slug": text_of(source, "slug", SLUG),
        "description": text_of(source, "description", _TEXT, required=False),
        "is_published": source.flag("is_published", default=False),
        "sample_path": sample,
    }


def read_meter(value: object, path: str, problems: list[Problem]) -> dict[str, Any]:
    source = Fields.read(value, path, problems, ("slug", "name", "unit"))
    return {
        "slug": text_of(source, "slug", SLUG),
        "name": text_of(source, "name", _NAME),
        "unit": text_of(source, "unit", _UNIT, required=False) or "request",
    }


def read_plan(value: object, path: str, problems: list[Problem]) -> dict[str, Any]:
    known = ("slug", "name", "description", "is_public", "rank")
    source = Fields.read(value, path, problems, known)
    rank = source.values.get("rank", 0)
    if type(rank) is not int or abs(rank) > 1_000_000:
        source.refuse("rank", "not_an_integer", "must be a whole number")
        rank = 0
    return {
        "slug": text_of(source, "slug", SLUG),
        "name": text_of(source, "name", _NAME),
        "description": text_of(source, "description", _LINE, required=False),
        "is_public": source.flag("is_public", default=True),
        "rank": rank,
    }


def read_consumer(source: Fields, *, username_required: bool) -> dict[str, Any]:
    """Read what an application is called; all three may reach upstreams in a header."""
    return {
        "username": text_of(source, "username", SLUG, required=username_required),
        "name": text_of(source, "name", _NAME),
        "custom_id": text_of(source, "custom_id", _OWN_ID, required=False),
    }


def read_upstream(value: object, path: str, problems: list[Problem]) -> dict[str, Any]:
    """Read an upstream; private addresses are fine, since only the provider configures them."""
    timeouts = ("connect_timeout_ms", "send_timeout_ms", "read_timeout_ms")
    known = ("name", "targets", "base_path", "host_header", "retries", *timeouts)
    source = Fields.read(value, path, problems, known)
    defaults = (2_000, 30_000, 30_000)
    return {
        "name": text_of(source, "name", SLUG),
        "targets": _targets(source),
        "base_path": text_of(source, "base_path", _PREFIX, required=False).rstrip("/"),
        "host_header": text_of(source, "host_header", _HOST_OR_NONE, required=False),
        "retries": source.integer("retries", default=1, low=0, high=5),
        **{
            name: source.integer(name, default=default, low=1, high=MAX_TIMEOUT_MS)
            for name, default in zip(timeouts, defaults, strict=True)
        },
    }


def _targets(source: Fields) -> dict[str, int]:
    value = source.values.get("targets")
    if not isinstance(value, dict) or not value:
        source.refuse("targets", "required", "must name at least one http(s)://host:port")
        return {}
    found: dict[str, int] = {}
    for name, weight in value.items():
        why = target_problem(name)
        if why:
            source.refuse(f"targets[{name}]", "not_a_target", why)
        if type(weight) is not int or not 0 <= weight <= 1_000:
            source.refuse(f"targets[{name}]", "not_a_weight", "must weigh 0 to 1000")
            continue
        found[str(name)] = weight
    if found and not any(found.values()):
        source.refuse("targets", "no_weight", "at least one target must weigh more than 0")
    elif found and sum(found.values()) // gcd(*found.values()) > MAX_WEIGHTS:
        source.refuse("targets", "too_fine", f"weights must sum to at most {MAX_WEIGHTS}")
    return found


def target_problem(target: object) -> str:
    """Say why this is no `http(s)://host:port`; empty = it is one.

    >>> target_problem("http://10.0.0.7:9000"), target_problem("http://api.example/v1")
    ('', 'must be http(s)://host:port without a path')
    """
    if not isinstance(target, str) or not target.isascii():
        return "must be http(s)://host:port"
    try:
        parts = urlsplit(target)
        port = parts.port
    except ValueError:
        return "has a port that is none"
    if parts.path or parts.query or parts.fragment:
        return "must be http(s)://host:port without a path"
    if not _TARGET.fullmatch(target) or not parts.hostname:
        return "must be http(s)://host:port"
    if port == 0 or not (_is_address(parts.hostname) or _HOST_LABELS.fullmatch(parts.hostname)):
        return "must be http(s)://host:port"
    return ""


def networks_of(texts: Sequence[str]) -> tuple[str, ...]:
    """Read the addresses and networks from which a key may be used.

    :raises ValueError: saying what is none; zones name an interface of one machine and are none.

    >>> networks_of(["203.0.113.0/24", "2001:DB8::1"])
    ('203.0.113.0/24', '2001:db8::1/128')
    """
    if len(texts) > MAX_NETWORKS:
        msg = f"must be {MAX_NETWORKS} addresses or networks at most"
        raise ValueError(msg)
    if zoned := [text for text in texts if "%" in text]:
        msg = f"{zoned[0][:50]!r} has a zone: leave out what follows %"
        raise ValueError(msg)
    return tuple(str(ipaddress.ip_network(text)) for text in texts)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def read_route(value: object, path: str, problems: list[Problem]) -> dict[str, Any]:
    """Read a route without its API and upstream, which the caller resolves."""
    known = (
        *("name", "path", "methods", "hosts", "priority", "is_public", "strip_prefix", "units"),
        *("max_body_bytes", "read_timeout_ms", "query_key", "scopes", "description"),
    )
    source = Fields.read(value, path, problems, known)
    route_path = source.values.get("path")
    why = route_path_problem(route_path)
    if why:
        source.refuse("path", "route_path", why)
    priority = source.values.get("priority", 0)
    if type(priority) is not int or abs(priority) > 1_000_000:
        source.refuse("priority", "not_an_integer", "must be a whole number")
        priority = 0
    scopes = scopes_of(source, at_most=MAX_ROUTE_SCOPES)
    is_public = source.flag("is_public", default=False)
    if scopes and is_public:
        source.refuse("scopes", "public_route", "cannot be required where no key is asked for")
    return {
        "name": text_of(source, "name", SLUG),
        "path": route_path if not why else "",
        "methods": _words(source, "methods", METHODS),
        "hosts": _hosts(source),
        "priority": priority,
        "is_public": is_public,
        "strip_prefix": text_of(source, "strip_prefix", _PREFIX, required=False).rstrip("/"),
        "units": _units(source),
        "max_body_bytes": source.integer(
            "max_body_bytes", default=10_485_760, low=0, high=2**31 - 1
        ),
        "read_timeout_ms": source.integer(
            "read_timeout_ms", default=0, low=0, high=MAX_TIMEOUT_MS
        ),
        "query_key": source.flag("query_key", default=False),
        "scopes": scopes,
        "description": text_of(source, "description", _LINE, required=False),
    }


def route_path_problem(path: object) -> str:
    """Say why this is no route path; empty = it is one.

    Exact (`/a/b`), a template whose parameters are whole segments (`/a/{id}`), or a prefix
    (`/a/*`). What the gateway refuses in a request's target cannot be in a route either.

    >>> route_path_problem("/v1/maps/{id}"), route_path_problem("/v1/../admin")
    ('', 'must not hold dot segments')
    """
    if not isinstance(path, str) or not path.startswith("/") or len(path) > 300:
        return "must begin with / and have at most 300 characters"
    if path in RESERVED_PATHS or path.startswith(tuple(f"{p}/" for p in RESERVED_PATHS)):
        return "is kept for the gateway itself"
    segments = path[1:].split("/")
    if "" in segments[:-1] or (len(segments) > 1 and segments[-1] == ""):
        return "must not hold empty segments or end with /"
    if any(segment in {".", ".."} for segment in segments):
        return "must not hold dot segments"
    names = [segment for segment in segments if _PARAMETER.fullmatch(segment)]
    if len(set(names)) != len(names):
        return "names a parameter twice"
    if names and segments[-1] == "*":
        return "must be a template or a prefix, not both"
    for index, segment in enumerate(segments):
        if segment == "*" and index == len(segments) - 1:
            continue
        if not _PARAMETER.fullmatch(segment) and not _plain_segment(segment, path):
            return "must be plain text, {parameters} as whole segments, and * at the end alone"
    return ""


def _plain_segment(segment: str, path: str) -> bool:
    return path == "/" or ("*" not in segment and _LITERAL.fullmatch(segment) is not None)


def _words(source: Fields, name: str, choices: tuple[str, ...]) -> list[str]:
    found: list[str] = []
    for index, (_, item) in enumerate(source.items(name)):
        if item not in choices:
            source.refuse(
                f"{name}[{index}]", "not_a_choice", f"must be one of {', '.join(choices)}"
            )
        elif item not in found:
            found.append(str(item))
    return found


def _hosts(source: Fields) -> list[str]:
    found: list[str] = []
    for index, (_, item) in enumerate(source.items("hosts")):
        if not (isinstance(item, str) and _HOST_LABELS.fullmatch(item)):
            source.refuse(f"hosts[{index}]", "not_a_host", "must be a host name or *.example.com")
        elif item not in found:
            found.append(item)
    return found


def scopes_of(source: Fields, *, at_most: int) -> list[str]:
    """Read a set of scope names: each once, in the alphabet's order."""
    found: set[str] = set()
    for _, item in source.items("scopes"):
        if isinstance(item, str) and SCOPE.fullmatch(item):
            found.add(item)
        else:
            source.refuse("scopes", "not_a_scope", f"{str(item)[:64]}: {_SCOPE_SAYS}")
    if len(found) > at_most:
        source.refuse("scopes", "too_many", f"must be {at_most} at most")
    return sorted(found)


def _units(source: Fields) -> dict[str, int]:
    value = source.values.get("units") or {}
    if not isinstance(value, dict):
        source.refuse("units", "not_an_object", "must give whole units by meter")
        return {}
    found: dict[str, int] = {}
    for meter, units in value.items():
        if not (isinstance(meter, str) and SLUG.fullmatch(meter)):
            source.refuse(f"units.{meter}", "not_a_meter", "must be a meter's short name")
        elif type(units) is not int or not 0 <= units <= MAX_UNITS:
            source.refuse(f"units.{meter}", "not_an_integer", "must be a whole number, 0 or more")
        else:
            found[meter] = units
    return found


def text_of(source: Fields, name: str, pattern: re.Pattern[str], *, required: bool = True) -> str:
    """Read a text; say in words what was expected."""
    count = len(source.problems)
    value = source.text(name, pattern=pattern, required=required)
    if len(source.problems) > count and source.problems[-1].code == "not_a_text":
        wrong = source.problems.pop()
        source.problems.append(wrong._replace(message=_SAYS.get(pattern, wrong.message)))
    return value
