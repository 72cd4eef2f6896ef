"""Counting again from events, rolling refusals up, ids and traces."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from gateway.contracts.access_log import AccessLogEvent, Charge, Kind
from gateway.contracts.snapshot import Outcome, Quota, WindowKind
from gateway.core.compile import Admit, Options, compile_snapshot
from gateway.core.decision import Deny, decide, read_request
from gateway.core.events import Who
from gateway.core.instants import to_instant, to_us
from gateway.core.quota_replay import counted_charges
from gateway.core.refusals import MAX_EVENTS_PER_S, RefusalMeter
from gateway.core.tracing import client_request_id, trace_of, uuid7
from tests.factories.snapshots import LIVE_KEY, NOW, TEST_KEY, build_plan, build_snapshot

_EVENT = AccessLogEvent(
    stream="n.b.0", seq=1, kind=Kind.REQUEST, admitted_at=NOW, finished_at=NOW, node="n",
    environment="live", organization_id="org-1", subscription_id="sub-1",
    charge=Charge.BILLED, charge_reason="2xx", quantities={"requests": Decimal(3)},
)  # fmt: skip
_TEST_CALL: dict[str, Any] = {
    "environment": "test", "subscription_id": "", "charge": Charge.FREE,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "units"),
    [
        ({}, 3),
        ({"charge": Charge.COUNTED}, 3),
        ({"charge": Charge.FREE, "charge_reason": "5xx"}, 0),
        ({"quantities": {}}, 0),
        ({"kind": Kind.RESPONSE_END}, 0),
        ({"subscription_id": "gone"}, 0),
        ({**_TEST_CALL, "charge_reason": "test:2xx"}, 3),
        ({**_TEST_CALL, "charge_reason": "test:5xx"}, 0),
        ({**_TEST_CALL, "charge_reason": "upstream_timeout"}, 0),
    ],
)
def test_event_counts_again_what_its_counter_kept(changes: dict[str, Any], units: int) -> None:
    charges = counted_charges(replace(_EVENT, **changes), build_snapshot())
    assert sum(charge.units for charge in charges) == units


@pytest.mark.parametrize("key", [LIVE_KEY, TEST_KEY])
@pytest.mark.parametrize("outcome", list(Outcome))
def test_replay_agrees_with_what_admission_took_and_settlement_returned(
    key: str, outcome: Outcome
) -> None:
    plan = build_plan(
        quotas=(
            Quota(meter="requests", quota=10),
            Quota(meter="requests", quota=5, window=WindowKind.HOUR),
        ),
        count_policy={Outcome.SERVER_ERROR: Charge.COUNTED, Outcome.CLIENT_ERROR: Charge.FREE},
    )
    snapshot = build_snapshot(plan=plan)
    compiled = compile_snapshot(snapshot, Options())
    raw = ((b"Host", b"h"), (b"X-API-Key", key.encode()))
    facts = read_request(compiled, method="GET", target="/v1/x", raw=raw, http_1_0=False)
    assert not isinstance(facts, Deny)
    admit = decide(compiled, facts, to_us(NOW))
    assert isinstance(admit, Admit)
    settlement = admit.costs[outcome].settlement
    who = admit.who.who
    event = replace(
        _EVENT, environment=who.environment, organization_id=who.organization_id,
        subscription_id=who.subscription_id, charge=settlement.charge,
        charge_reason=settlement.reason, quantities={"requests": Decimal(1)},
    )  # fmt: skip
    kept = [] if settlement.returned else list(admit.windows)
    assert counted_charges(event, snapshot) == kept


def test_refusals_beyond_a_hundred_a_second_are_rolled_up() -> None:
    meter, who = RefusalMeter(), Who(credential_id="c")
    written = [meter.note(who, "rate_limited", now_us=1_000 * i) for i in range(250)]
    assert written.count(True) == MAX_EVENTS_PER_S
    assert meter.collect(now_us=999_999) == []
    (rollup,) = meter.collect(now_us=1_000_000)
    assert (rollup.counts, rollup.start_us) == ({"rate_limited": 150}, 100_000)
    assert meter.note(who, "rate_limited", now_us=1_000_001)


def test_slow_refusals_are_never_rolled_up() -> None:
    meter, who = RefusalMeter(), Who(credential_id="c")
    assert all(meter.note(who, "x", now_us=20_000 * i) for i in range(500))


def test_only_a_safe_client_request_id_is_kept() -> None:
    assert client_request_id([b"abc-1.2_3"]) == "abc-1.2_3"
    for values in ([], [b""], [b'a"b'], [b"a b"], [b"x" * 200], [b"a", b"b"], [b"\xe9"]):
        assert client_request_id(values) == ""


def test_uuid7_sorts_by_time() -> None:
    ids = [uuid7(unix_ms=ms, randomness=(1 << 74) - 1 - ms) for ms in range(5)]
    assert ids == sorted(ids)


@pytest.mark.parametrize(
    "parent",
    [b"", b"00-" + b"0" * 32 + b"-00f067aa0ba902b7-01",
     b"00-4bf92f3577b34da6a3ce929d0e0e4736-" + b"0" * 16 + b"-01",
     b"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
     b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
     b"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"],
)  # fmt: skip
def test_invalid_trace_is_started_anew(parent: bytes) -> None:
    trace = trace_of([parent], [b"a=b"], randomness=bytes(range(24)))
    assert trace.trace_id == bytes(range(16)).hex()
    assert b"tracestate" not in trace.lines


def test_valid_trace_goes_on() -> None:
    parent = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
    trace = trace_of([parent], [b"a=b", b"c=d"], randomness=bytes(range(24)))
    assert trace.trace_id == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert trace.lines.startswith(b"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-")
    assert trace.lines.endswith(b"-00\r\ntracestate: a=b,c=d\r\n")


def test_instants_round_trip() -> None:
    assert to_us(to_instant(1_767_323_045_000_006)) == 1_767_323_045_000_006
