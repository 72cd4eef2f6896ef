"""Turns an OpenAPI 3.0 or 3.1 document (JSON or YAML) into routes of an API.

All or nothing: either every operation becomes a route (new, or changed where one of that name is
there), or none does and every problem is reported with the operation's path. Routes that the
document does not name stay. Its `security` is not read: required scopes are set on the route and
survive the next import, so that a document never locks keys out that work today.
"""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from django.db import transaction

from portal.core.catalog_input import METHODS
from portal.core.checked_input import Problem
from portal.core.plain_values import parsed, yaml_values
from portal.errors import InputInvalidError
from portal.models import Api, Route, Upstream, User
from portal.services.audit import audit_record
from portal.services.catalog import route_save
from portal.snapshots import snapshot_touch

MAX_DOCUMENT_CHARS: Final = 2_000_000
_VERSION: Final = re.compile(r"3\.[01]\.\d+")
_OUTSIDE: Final = re.compile(r"[^a-z0-9]+")


def openapi_read(text: str) -> dict[str, Any]:
    """Parse a document and check that it is OpenAPI 3.0 or 3.1 with paths.

    :raises InputInvalidError: when it is not.
    """
    if len(text) > MAX_DOCUMENT_CHARS:
        raise _invalid("", "too_large", f"must have at most {MAX_DOCUMENT_CHARS} characters")
    try:
        is_json = text.lstrip().startswith("{")
        document = parsed(json.loads, text) if is_json else _yaml(text)
    except ValueError as error:
        raise _invalid("", "not_a_document", f"is neither JSON nor YAML: {error}") from error
    if not isinstance(document, dict) or not _VERSION.fullmatch(str(document.get("openapi"))):
        raise _invalid("openapi", "not_openapi", "must be 3.0.x or 3.1.x")
    if not isinstance(document.get("paths"), dict) or not document["paths"]:
        raise _invalid("paths", "required", "must hold at least one path")
    return document


def _yaml(text: str) -> Any:
    """Read YAML and bring it to plain JSON values (dates become text)."""
    return json.loads(json.dumps(yaml_values(text), default=str))


def _invalid(path: str, code: str, message: str) -> InputInvalidError:
    return InputInvalidError([Problem(path, code, message)])


def openapi_import(
    *,
    api: Api,
    upstream: Upstream,
    text: str,
    prefix: str = "",
    actor: User | None,
    now: datetime,
) -> list[Route]:
    """Create or change one route per operation and keep the document with the API.

    prefix   put in front of every path, and stripped again towards the upstream

    :raises InputInvalidError: with every problem; then nothing has changed.
    """
    document = openapi_read(text)
    problems: list[Problem] = []
    routes = []
    with transaction.atomic():
        held = {route.name: route for route in api.routes.all()}
        for place, values in operation_list(document, prefix=prefix.rstrip("/")):
            own = held.get(values["name"])
            try:
                routes.append(
                    route_save(
                        api=api,
                        upstream=upstream,
                        route=own,
                        values=_kept(own) | values,
                        actor=actor,
                        now=now,
                    )
                )
            except InputInvalidError as error:
                problems += [
                    Problem(f"{place}.{p.path}", p.code, p.message) for p in error.problems
                ]
        if problems:
            raise InputInvalidError(problems)
        Api.objects.filter(pk=api.pk).update(openapi=document)
        audit_record(
            actor=actor,
            action="api.import",
            target=api.pk,
            after={"routes": [route.name for route in routes]},
            now=now,
        )
        snapshot_touch()
    return routes


def _kept(route: Route | None) -> dict[str, Any]:
    """Return what an admin has set on a route and a document does not say."""
    names = (
        *("hosts", "priority", "is_public", "units", "max_body_bytes", "read_timeout_ms"),
        *("query_key", "scopes"),
    )
    return {} if route is None else {name: getattr(route, name) for name in names}


def operation_list(
    document: Mapping[str, Any], *, prefix: str = ""
) -> list[tuple[str, dict[str, Any]]]:
    """Return (place in the document, route values) per operation, in the document's order.

    >>> operation_list({"paths": {"/maps/{id}": {"get": {"operationId": "getMap"}}}})[0][1]["name"]
    'getmap'
    """
    found = []
    names: set[str] = set()
    for path, item in document["paths"].items():
        operations = item if isinstance(item, dict) else {}
        for method in METHODS:
            operation = operations.get(method.lower())
            if isinstance(operation, dict):
                name = _unique(_name(operation, method, path), names)
                values = {
                    "name": name,
                    "path": f"{prefix}{path}",
                    "methods": [method],
                    "strip_prefix": prefix,
                    "description": str(operation.get("summary") or "")[:300],
                }
                found.append((f"paths.{path}.{method.lower()}", values))
    return found


def _name(operation: Mapping[str, Any], method: str, path: str) -> str:
    text = str(operation.get("operationId") or f"{method} {path}").lower()
    return _OUTSIDE.sub("-", text).strip("-")[:60] or method.lower()


def _unique(name: str, taken: set[str]) -> str:
    number, candidate = 1, name
    while candidate in taken:
        number += 1
        candidate = f"{name[:56]}-{number}"
    taken.add(candidate)
    return candidate
