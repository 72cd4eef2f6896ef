"""The access-log event: what the gateway writes about a request and everyone else reads.

Owns the names, units and kinds of the fields, the topic names and the codec. One event is one JSON
object on one line, encoded once; spool, Kafka and ClickHouse carry those bytes unchanged. Field
name = JSON key = ClickHouse column (`architecture.md` §3), held by a contract test.

Callers: the gateway encodes (the hot path by hand, held equal by test), the sink and tests decode.
"""

import json
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

SCHEMA_VERSION: Final = "v1"
TOPIC: Final = "tollway.access-log.v1"
DURABLE_TOPIC: Final = "tollway.durable.v1"
PARTITIONS: Final = 12
"""Of the log, where shipper or sink make it: as many sinks share the work at most."""
DURABLE_PARTITIONS: Final = 1  # compacted: one value per stream


class Kind(StrEnum):
    """What an event says; required fields per kind are in `REQUIRED`."""

    REQUEST = "request"
    RESPONSE_END = "response_end"
    BUSINESS = "business"
    REFUSALS = "refusals"
    THRESHOLD = "threshold"
    SEAL = "seal"


class Charge(StrEnum):
    """What an event costs: `billed` quota and invoice, `counted` quota only, `free` neither."""

    BILLED = "billed"
    COUNTED = "counted"
    FREE = "free"


class AccessLogDecodeError(ValueError):
    """The line is no access-log event of this schema version; the text names the field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessLogEvent:
    """One event. Times are aware UTC (microseconds), quantities are exact decimals.

    stream, seq     the identity: `seq` counts 1, 2, 3 … without gaps in a stream
    admitted_at     decides segment, billing period and quota window, for every kind
    quantities      meter -> units: the numbers that the quota used
    status          the status the client got; `upstream_status` what the upstream said, 0 = none
    latency_us      admission to first byte (request) or to the end (response_end)
    """

    v: str = SCHEMA_VERSION
    stream: str
    seq: int
    kind: Kind
    admitted_at: datetime
    finished_at: datetime
    node: str
    # who and what; empty string = not known or not applicable
    request_id: str = ""
    environment: str = ""
    organization_id: str = ""
    consumer_id: str = ""
    credential_id: str = ""
    subscription_id: str = ""
    plan_version_id: str = ""
    api: str = ""
    route: str = ""
    method: str = ""
    path_template: str = ""
    # the outcome
    status: int = 0
    upstream_status: int = 0
    decision: str = ""
    charge: Charge = Charge.FREE
    charge_reason: str = ""
    quantities: dict[str, Decimal] = field(default_factory=dict)
    request_bytes: int = 0
    response_bytes: int = 0
    latency_us: int = 0
    upstream_latency_us: int = 0
    client_ip: str = ""
    user_agent: str = ""
    trace_id: str = ""
    # response_end
    slice_no: int = 0
    aborted: bool = False
    # business
    event_key: str = ""
    # refusals: reason -> count in the second that starts at admitted_at
    refusals: dict[str, int] = field(default_factory=dict)
    # threshold
    meter: str = ""
    window_start: datetime | None = None
    window_end: datetime | None = None
    percent: int = 0
    # seal
    last_seq: int = 0
    line_hash: str = ""
    complete_through: datetime | None = None
    open_streams: tuple[str, ...] = ()
    final: bool = False
    final_reason: str = ""
    # AI and transactions, when the route meters them
    llm_model: str = ""
    llm_prompt_tokens: int = 0
    llm_completion_tokens: int = 0
    txn_id: str = ""


_COMMON: Final = ("v", "stream", "seq", "kind", "admitted_at", "finished_at", "node")
_CALLER: Final = ("environment", "organization_id", "consumer_id", "credential_id")
REQUIRED: Final[dict[Kind, tuple[str, ...]]] = {
    Kind.REQUEST: (
        *_COMMON, "request_id", "environment", "api", "route", "method", "path_template",
        "status", "decision", "charge", "charge_reason",
    ),
    Kind.RESPONSE_END: (
        *_COMMON, "request_id", "environment", "api", "route", "method", "path_template",
        "status", "charge",
    ),
    Kind.BUSINESS: (*_COMMON, *_CALLER, "event_key", "quantities", "charge"),
    Kind.REFUSALS: (*_COMMON, "environment", "refusals"),
    Kind.THRESHOLD: (
        *_COMMON, "environment", "organization_id", "subscription_id", "meter", "window_start",
        "window_end", "percent",
    ),
    Kind.SEAL: (*_COMMON, "last_seq", "line_hash", "complete_through", "open_streams"),
}  # fmt: skip
"""Fields that must be present (not left at their default) per kind; the others may be absent."""

FIELD_NAMES: Final[tuple[str, ...]] = tuple(f.name for f in fields(AccessLogEvent))
_DEFAULTS: Final[dict[str, Any]] = {
    f.name: f.default_factory() if f.default_factory is not MISSING else f.default
    for f in fields(AccessLogEvent)
}
_TIMES: Final = {"admitted_at", "finished_at", "window_start", "window_end", "complete_through"}
_INTS: Final = {
    "seq", "status", "upstream_status", "request_bytes", "response_bytes", "latency_us",
    "upstream_latency_us", "slice_no", "percent", "last_seq", "llm_prompt_tokens",
    "llm_completion_tokens",
}  # fmt: skip
_BOOLS: Final = {"aborted", "final"}


def format_time(instant: datetime) -> str:
    """Write an instant as ISO-8601 in UTC with six digits and `Z`.

    >>> format_time(datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC))
    '2026-01-02T03:04:05.000006Z'
    """
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str) -> datetime:
    """Read what `format_time` wrote.

    :raises ValueError: unless it is UTC with `Z`.
    """
    if not text.endswith("Z"):
        msg = f"not UTC with Z: {text!r}"
        raise ValueError(msg)
    return datetime.fromisoformat(text[:-1]).replace(tzinfo=UTC)


def format_decimal(value: Decimal) -> str:
    """Write a decimal plainly, without exponent or trailing zeros.

    >>> format_decimal(Decimal("1.50")), format_decimal(Decimal("1E+3"))
    ('1.5', '1000')
    """
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _to_json(name: str, value: Any) -> Any:
    if name in _TIMES:
        return format_time(value)
    if name == "quantities":
        return {meter: format_decimal(units) for meter, units in value.items()}
    if name == "open_streams":
        return list(value)
    return value


def encode(event: AccessLogEvent) -> bytes:
    """Write an event as one line of JSON, newline included, fields in declaration order.

    Fields at their default are left out unless the kind requires them; ClickHouse fills in the
    same defaults.
    """
    required = REQUIRED[event.kind]
    record = {
        name: _to_json(name, value)
        for name in FIELD_NAMES
        if (value := getattr(event, name)) is not None
        and (name in required or value != _DEFAULTS[name])
    }
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def _unsigned(value: Any) -> int:
    if type(value) is not int or value < 0:
        msg = f"not an unsigned integer: {value!r}"
        raise ValueError(msg)
    return value


def _boolean(value: Any) -> bool:
    if type(value) is not bool:
        msg = f"not a boolean: {value!r}"
        raise ValueError(msg)
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        msg = f"not a string: {value!r}"
        raise TypeError(msg)
    return value


_READERS: Final[dict[str, Callable[[Any], Any]]] = {
    **dict.fromkeys(_TIMES, parse_time),
    **dict.fromkeys(_INTS, _unsigned),
    **dict.fromkeys(_BOOLS, _boolean),
    "quantities": lambda value: {_text(m): Decimal(_text(units)) for m, units in value.items()},
    "refusals": lambda value: {_text(r): _unsigned(count) for r, count in value.items()},
    "open_streams": lambda value: tuple(_text(stream) for stream in value),
    "kind": Kind,
    "charge": Charge,
}


def decode(line: bytes) -> AccessLogEvent:
    """Read one line.

    :raises AccessLogDecodeError: for broken JSON, an unknown or missing field, or a wrong type.
    """
    try:
        record = json.loads(line)
    except ValueError as error:
        msg = f"not JSON: {error}"
        raise AccessLogDecodeError(msg) from error
    if not isinstance(record, dict):
        raise AccessLogDecodeError("not a JSON object")
    values: dict[str, Any] = {}
    for name, value in record.items():
        if name not in _DEFAULTS:
            msg = f"unknown field {name!r}"
            raise AccessLogDecodeError(msg)
        try:
            reader: Callable[[Any], Any] = _READERS.get(name, _text)
            values[name] = reader(value)
        except (ValueError, TypeError, AttributeError, ArithmeticError) as error:
            msg = f"{name}: {error}"
            raise AccessLogDecodeError(msg) from error
    kind = values.get("kind")
    missing = [n for n in (REQUIRED[kind] if kind else _COMMON) if n not in values]
    if missing:
        msg = f"missing {', '.join(missing)}"
        raise AccessLogDecodeError(msg)
    if values["v"] != SCHEMA_VERSION:
        msg = f"schema version {values['v']!r}, this reads {SCHEMA_VERSION}"
        raise AccessLogDecodeError(msg)
    return AccessLogEvent(**values)
