"""What is encoded by hand is, byte for byte, what `access_log.encode` writes."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from gateway.contracts.access_log import AccessLogEvent, Charge, Kind, decode, encode
from gateway.core.charges import WindowCharge
from gateway.core.events import (
    EventEncoder,
    RequestRecord,
    Who,
    agent_text,
    cost_text,
    who_text,
)
from gateway.core.instants import to_instant
from tests.factories.snapshots import build_snapshot

_HEAD = b'{"v":"v1","stream":"n.b.0","seq":7,'
_TEXT = st.text(max_size=12)
_IDS = st.text("abcdefghij-_.0123456789", max_size=12)
_US = st.integers(1_700_000_000_000_000, 2_000_000_000_000_000)
_NUMBER = st.integers(0, 10**12)
_WHO = st.builds(
    Who,
    environment=st.sampled_from(["live", "test"]),
    **dict.fromkeys(
        ("organization_id", "consumer_id", "credential_id", "subscription_id", "plan_version_id",
         "api", "route", "path_template"),
        _TEXT,
    ),
)  # fmt: skip


@st.composite
def _records(draw: st.DrawFn) -> tuple[RequestRecord, dict[str, int], Charge, str]:
    units = draw(st.dictionaries(_TEXT, st.integers(1, 10**9), max_size=3))
    charge, reason = draw(st.sampled_from(list(Charge))), draw(_TEXT)
    record = RequestRecord(
        who=who_text(draw(_WHO)),
        admitted_us=draw(_US),
        request_id=draw(_IDS),
        method=draw(st.sampled_from(["GET", "POST"])),
        client_ip=draw(st.sampled_from(["", "10.0.0.1", "2001:db8::1"])),
        user_agent=draw(st.binary(max_size=300)),
        trace_id=draw(_IDS),
        decision=draw(_IDS),
        cost=cost_text(charge, reason, units),
        status=draw(st.integers(0, 599)),
        upstream_status=draw(st.integers(0, 599)),
        request_bytes=draw(_NUMBER),
        response_bytes=draw(_NUMBER),
        latency_us=draw(_NUMBER),
        upstream_latency_us=draw(_NUMBER),
        slice_no=draw(st.integers(0, 9)),
        aborted=draw(st.booleans()),
    )
    return record, units, charge, reason


def _fields(record: RequestRecord) -> dict[str, object]:
    who = record.who.who
    return {
        **{name: getattr(who, name) for name in Who.__dataclass_fields__},
        "request_id": record.request_id, "method": record.method, "status": record.status,
        "upstream_status": record.upstream_status, "request_bytes": record.request_bytes,
        "response_bytes": record.response_bytes, "latency_us": record.latency_us,
        "upstream_latency_us": record.upstream_latency_us, "client_ip": record.client_ip,
        "user_agent": agent_text(record.user_agent), "trace_id": record.trace_id,
        "slice_no": record.slice_no, "aborted": record.aborted,
    }  # fmt: skip


@given(drawn=_records(), finished_us=_US)
def test_request_event_is_what_the_contract_writes(
    drawn: tuple[RequestRecord, dict[str, int], Charge, str], finished_us: int
) -> None:
    record, units, charge, reason = drawn
    event = AccessLogEvent(
        stream="n.b.0", seq=7, kind=Kind.REQUEST, node="node", decision=record.decision,
        admitted_at=to_instant(record.admitted_us), finished_at=to_instant(finished_us),
        charge=charge, charge_reason=reason,
        quantities={meter: Decimal(count) for meter, count in units.items()},
        **_fields(record),  # type: ignore[arg-type]
    )  # fmt: skip
    line = _HEAD + EventEncoder("node").request(record, finished_us=finished_us)
    assert line == encode(event)
    assert decode(line) == event


@given(drawn=_records(), finished_us=_US, at_us=_US)
def test_response_end_is_what_the_contract_writes(
    drawn: tuple[RequestRecord, dict[str, int], Charge, str], finished_us: int, at_us: int
) -> None:
    record, _, charge, _ = drawn
    event = AccessLogEvent(
        stream="n.b.0", seq=7, kind=Kind.RESPONSE_END, node="node", charge=charge,
        admitted_at=to_instant(at_us), finished_at=to_instant(finished_us),
        **_fields(record),  # type: ignore[arg-type]
    )  # fmt: skip
    encoder = EventEncoder("node")
    assert _HEAD + encoder.response_end(record, finished_us=finished_us, at_us=at_us) == encode(
        event
    )


def test_rare_kinds_decode() -> None:
    encoder = EventEncoder("node")
    charge = WindowCharge("k", "requests", 0, 1_000_000, 100, 100, 1, (80,))
    entitlement = build_snapshot().entitlements["sub-1"]
    threshold = decode(_HEAD + encoder.threshold(entitlement, charge, 80, at_us=500_000))
    assert (threshold.kind, threshold.percent, threshold.meter) == (
        Kind.THRESHOLD, 80, "requests",
    )  # fmt: skip
    rolled = decode(
        _HEAD + encoder.refusals(Who(credential_id="c"), {"rate_limited": 5}, at_us=1, to_us=2)
    )
    assert (rolled.kind, rolled.refusals) == (Kind.REFUSALS, {"rate_limited": 5})
