"""Writes the JSON Schemas of the shared contracts from their dataclasses.

`python -m tests.contract.json_schemas` rewrites `gateway/contracts/schema/*.json`; a test compares
them with what this gives, so that the files others read cannot drift from the code.
"""

import json
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from gateway.contracts import access_log, snapshot

FOLDER = Path(access_log.__file__).parent / "schema"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
TIME = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$"}
DECIMAL = {"type": "string", "pattern": r"^-?\d+(\.\d+)?$"}
SCALARS: dict[type, dict[str, Any]] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    datetime: TIME,
    Decimal: DECIMAL,
}


def _schema(hint: Any) -> dict[str, Any]:
    if get_origin(hint) is UnionType:
        inner = _schema(next(arg for arg in get_args(hint) if arg is not NoneType))
        return {"anyOf": [inner, {"type": "null"}]}
    if get_origin(hint) is tuple:
        return {"type": "array", "items": _schema(get_args(hint)[0])}
    if get_origin(hint) is dict:
        return {"type": "object", "additionalProperties": _schema(get_args(hint)[1])}
    if is_dataclass(hint):
        return _object(hint)  # type: ignore[arg-type]
    if issubclass(hint, StrEnum):
        return {"enum": [member.value for member in hint]}
    return SCALARS[hint]


def _object(cls: type) -> dict[str, Any]:
    hints = get_type_hints(cls)
    required = [
        f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING
    ]
    return {
        "type": "object",
        "properties": {f.name: _schema(hints[f.name]) for f in fields(cls)},
        "required": required,
        "additionalProperties": False,
    }


def access_log_schema() -> dict[str, Any]:
    """Describe one line of the access log; required fields depend on the kind."""
    event = _object(access_log.AccessLogEvent)
    for name, schema in event["properties"].items():
        event["properties"][name] = schema.get("anyOf", [schema])[0]  # null is never written
        if schema == SCALARS[int]:
            event["properties"][name] = {"type": "integer", "minimum": 0}
    event["properties"]["v"] = {"const": access_log.SCHEMA_VERSION}
    event["required"] = ["kind"]
    event["allOf"] = [
        {
            "if": {"properties": {"kind": {"const": kind.value}}},
            "then": {"required": list(required)},
        }
        for kind, required in access_log.REQUIRED.items()
    ]
    return {"$schema": DIALECT, "title": "Tollway access-log event v1", **event}


def snapshot_schema() -> dict[str, Any]:
    """Describe the document that gateways poll, full or as a difference."""
    upserts = {
        kind: {"type": "array", "items": {"$ref": f"#/$defs/{cls.__name__}"}}
        for kind, cls in snapshot.KINDS.items()
    }
    names = {kind: {"type": "array", "items": {"type": "string"}} for kind in snapshot.KINDS}
    return {
        "$schema": DIALECT,
        "title": "Tollway snapshot v1",
        "type": "object",
        "properties": {
            "schema": {"const": snapshot.SCHEMA_VERSION},
            "version": {"type": "integer", "minimum": 0},
            "base_version": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "hash": {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"},
            "clock": {
                "type": "object",
                "properties": {"offset_us": {"type": "integer"}, "sandbox": {"type": "boolean"}},
                "required": ["offset_us"],
            },
            "upserts": {"type": "object", "properties": upserts, "additionalProperties": False},
            "deletes": {"type": "object", "properties": names, "additionalProperties": False},
        },
        "required": ["schema", "version", "base_version", "hash", "clock", "upserts", "deletes"],
        "$defs": {cls.__name__: _object(cls) for cls in snapshot.KINDS.values()},
    }


DOCUMENTS = {
    "access_log.v1.json": access_log_schema,
    "snapshot.v1.json": snapshot_schema,
}


def text(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=2) + "\n"


if __name__ == "__main__":
    for name, build in DOCUMENTS.items():
        (FOLDER / name).write_text(text(build()))
