"""The event's fields and the table's columns agree: names, order, types and defaults."""

import re
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, get_type_hints

from gateway.contracts.access_log import _DEFAULTS, FIELD_NAMES, AccessLogEvent, Charge, Kind
from metering.migrate import SCHEMA_DIR

DDL = (SCHEMA_DIR / "0001_access_log.sql").read_text()
COLUMN = re.compile(r"^    ([a-z_]+) (.+?)(?: DEFAULT (.+))?,$", re.MULTILINE)
BODY = DDL.split("\n(\n", 1)[1].split("INDEX", 1)[0]
COLUMNS = {name: (kind, default) for name, kind, default in COLUMN.findall(BODY)}
TYPES: dict[Any, set[str]] = {
    str: {"String", "LowCardinality(String)"},
    int: {"UInt64"},
    bool: {"Bool"},
    datetime: {"DateTime64(6, 'UTC')"},
    datetime | None: {"Nullable(DateTime64(6, 'UTC'))"},
    dict[str, Decimal]: {"Map(LowCardinality(String), Decimal(38, 12))"},
    dict[str, int]: {"Map(LowCardinality(String), UInt64)"},
    tuple[str, ...]: {"Array(String)"},
}


def sql_default(value: Any) -> str:
    """Write a Python default as the DDL writes it."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | StrEnum):
        return f"'{value}'"
    return {"{}": "map()", "()": "[]"}.get(str(value), str(value))


def test_columns_are_the_fields_in_their_order() -> None:
    assert tuple(COLUMNS) == FIELD_NAMES


def test_types_hold_what_the_fields_hold() -> None:
    hints = get_type_hints(AccessLogEvent)
    for name, (kind, _) in COLUMNS.items():
        if hints[name] in {Kind, Charge}:
            members = set(re.findall(r"'(\w+)' = \d+", kind))
            assert members == {member.value for member in hints[name]}, name
        else:
            assert kind in TYPES[hints[name]], name


def test_defaults_are_the_dataclass_defaults() -> None:
    required = {"v", "stream", "seq", "kind", "admitted_at", "finished_at", "node"}
    for name, (_, default) in COLUMNS.items():
        if name in required:
            assert default == "", f"{name} is on every line; a default would hide its absence"
        else:
            assert default == sql_default(_DEFAULTS[name]), name
