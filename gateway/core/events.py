"""Access-log events as text behind the seq, written by hand for the hot kinds.

A line is `{"v":…,"stream":…,"seq":N,` (the spool's) + the tail made here. What does not change
between requests is encoded once, when the tables are built; a property test holds the result equal
to `access_log.encode`. Rare kinds go through that encoder itself.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from gateway.contracts.access_log import (
    AccessLogEvent,
    Charge,
    Kind,
    encode,
    format_decimal,
)
from gateway.contracts.snapshot import Entitlement
from gateway.core.charges import WindowCharge
from gateway.core.instants import InstantText, to_instant

_MAX_AGENT_BYTES: Final = 256
_MAX_REMEMBERED: Final = 2048


def json_text(value: str) -> str:
    """Write a JSON string as `access_log.encode` does."""
    return json.dumps(value, ensure_ascii=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Who:
    """Whom and what a request's events name; empty = not known."""

    environment: str = "live"
    organization_id: str = ""
    consumer_id: str = ""
    credential_id: str = ""
    subscription_id: str = ""
    plan_version_id: str = ""
    api: str = ""
    route: str = ""
    path_template: str = ""


@dataclass(frozen=True, slots=True)
class WhoText:
    """`Who` encoded: what stands before the method, and what stands behind it."""

    who: Who
    before_method: str
    after_method: str


_OPTIONAL: Final = (
    "organization_id", "consumer_id", "credential_id", "subscription_id", "plan_version_id",
)  # fmt: skip


def who_text(who: Who) -> WhoText:
    """Encode the part of an event that stays the same for a caller on a route."""
    optional = {name: getattr(who, name) for name in _OPTIONAL}
    parts = [f'"environment":{json_text(who.environment)}']
    parts += [f'"{name}":{json_text(value)}' for name, value in optional.items() if value]
    parts += [f'"api":{json_text(who.api)}', f'"route":{json_text(who.route)}']
    return WhoText(who, ",".join(parts), f'"path_template":{json_text(who.path_template)}')


def cost_text(charge: Charge, reason: str, quantities: Mapping[str, int]) -> str:
    """Encode what a request costs."""
    text = f'"charge":"{charge.value}","charge_reason":{json_text(reason)}'
    if quantities:
        units = {meter: format_decimal(Decimal(count)) for meter, count in quantities.items()}
        text += f',"quantities":{json.dumps(units, separators=(",", ":"), ensure_ascii=False)}'
    return text


FREE_REFUSED: Final = cost_text(Charge.FREE, "refused", {})


@dataclass(slots=True, kw_only=True)
class RequestRecord:
    """What one exchange adds to its events."""

    who: WhoText
    admitted_us: int
    request_id: str
    method: str
    client_ip: str
    user_agent: bytes
    trace_id: str = ""
    decision: str = "allow"
    cost: str = FREE_REFUSED
    status: int = 0
    upstream_status: int = 0
    request_bytes: int = 0
    response_bytes: int = 0
    latency_us: int = 0
    upstream_latency_us: int = 0
    slice_no: int = 0
    aborted: bool = False


class EventEncoder:
    """Encodes for one node; remembers the user agents it has seen."""

    def __init__(self, node: str) -> None:
        self.node: Final = node
        self._node_text = json_text(node)
        self._time = InstantText()
        self._agents: dict[bytes, str] = {}

    def request(self, record: RequestRecord, *, finished_us: int) -> bytes:
        """Encode a `request` event."""
        who = record.who
        upstream = f'"upstream_status":{record.upstream_status},' if record.upstream_status else ""
        return (
            f'"kind":"request","admitted_at":"{self._time(record.admitted_us)}",'
            f'"finished_at":"{self._time(finished_us)}","node":{self._node_text},'
            f'"request_id":"{record.request_id}",{who.before_method},"method":"{record.method}",'
            f'{who.after_method},"status":{record.status},{upstream}'
            f'"decision":"{record.decision}",{record.cost}{self._numbers(record)}}}\n'
        ).encode()

    def response_end(self, record: RequestRecord, *, finished_us: int, at_us: int) -> bytes:
        """Encode a `response_end` event, admitted at `at_us`; units were in the request event."""
        who = record.who
        charge = record.cost[: record.cost.index(",")]
        upstream = f'"upstream_status":{record.upstream_status},' if record.upstream_status else ""
        return (
            f'"kind":"response_end","admitted_at":"{self._time(at_us)}",'
            f'"finished_at":"{self._time(finished_us)}","node":{self._node_text},'
            f'"request_id":"{record.request_id}",{who.before_method},"method":"{record.method}",'
            f'{who.after_method},"status":{record.status},{upstream}'
            f"{charge}{self._numbers(record)}}}\n"
        ).encode()

    def _numbers(self, record: RequestRecord) -> str:
        text = ""
        if record.request_bytes:
            text += f',"request_bytes":{record.request_bytes}'
        if record.response_bytes:
            text += f',"response_bytes":{record.response_bytes}'
        if record.latency_us:
            text += f',"latency_us":{record.latency_us}'
        if record.upstream_latency_us:
            text += f',"upstream_latency_us":{record.upstream_latency_us}'
        if record.client_ip:
            text += f',"client_ip":"{record.client_ip}"'
        if record.user_agent:
            text += self._agent(record.user_agent)
        if record.trace_id:
            text += f',"trace_id":"{record.trace_id}"'
        if record.slice_no:
            text += f',"slice_no":{record.slice_no}'
        return text + ',"aborted":true' if record.aborted else text

    def _agent(self, raw: bytes) -> str:
        text = self._agents.get(raw)
        if text is None:
            text = f',"user_agent":{json_text(agent_text(raw))}'
            if len(self._agents) < _MAX_REMEMBERED:
                self._agents[raw] = text
        return text

    def refusals(self, who: Who, counts: Mapping[str, int], *, at_us: int, to_us: int) -> bytes:
        """Encode a roll-up of refusals in the second from `at_us`."""
        return _tail(
            AccessLogEvent(
                stream="", seq=0, kind=Kind.REFUSALS, node=self.node,
                admitted_at=to_instant(at_us), finished_at=to_instant(to_us),
                environment=who.environment, organization_id=who.organization_id,
                consumer_id=who.consumer_id, credential_id=who.credential_id,
                refusals=dict(counts),
            )
        )  # fmt: skip

    def threshold(
        self, entitlement: Entitlement, charge: WindowCharge, percent: int, *, at_us: int
    ) -> bytes:
        """Encode that a window's use crossed a percentage of the quota."""
        return _tail(
            AccessLogEvent(
                stream="", seq=0, kind=Kind.THRESHOLD, node=self.node,
                admitted_at=to_instant(at_us), finished_at=to_instant(at_us),
                environment=entitlement.environment.value,
                organization_id=entitlement.organization_id,
                subscription_id=entitlement.subscription_id, meter=charge.meter,
                window_start=to_instant(charge.start_us), window_end=to_instant(charge.end_us),
                percent=percent,
            )
        )  # fmt: skip


def agent_text(raw: bytes) -> str:
    """Return a user agent as it is logged: cut, and with what is not UTF-8 replaced."""
    return raw[:_MAX_AGENT_BYTES].decode("utf-8", "replace")


def _tail(event: AccessLogEvent) -> bytes:
    line = encode(event)
    return line[line.index(b'"kind":') :]
