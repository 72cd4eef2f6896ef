"""Who is let in, on which terms, and what it takes: one decision per table row."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contracts.api_keys import build_key
from gateway.contracts.snapshot import (
    EntitlementState,
    Quota,
    Segment,
    Snapshot,
    SnapshotError,
    WindowKind,
)
from gateway.core.charges import BucketCharge, WindowCharge
from gateway.core.compile import Admit, Options, compile_snapshot
from gateway.core.decision import Deny, UsageQuery, decide, read_request
from gateway.core.instants import to_us
from tests.factories.snapshots import (
    LIVE_KEY,
    NOW,
    PERIOD,
    SANDBOX_KEY,
    TEST_KEY,
    build_plan,
    build_route,
    build_snapshot,
)

_NOW_US = to_us(NOW)
Headers = list[tuple[str, str]]


def _ask(
    snapshot: Snapshot, headers: Headers | None = None, *, target: str = "/v1/x",
    method: str = "GET", now_us: int = _NOW_US, ip: str = "10.0.0.1",
) -> Admit | Deny | UsageQuery:  # fmt: skip
    compiled = compile_snapshot(snapshot, Options())
    lines = [("Host", "api.example"), *(headers or [])]
    raw = tuple((name.encode(), value.encode("latin-1")) for name, value in lines)
    facts = read_request(compiled, method=method, target=target, raw=raw, http_1_0=False)
    if isinstance(facts, Deny):
        return facts
    facts.client_ip = ip
    return decide(compiled, facts, now_us)


def _key(key: str = LIVE_KEY, name: str = "X-API-Key") -> Headers:
    return [(name, key)]


def _code(decision: object) -> str:
    return decision.code if isinstance(decision, Deny) else type(decision).__name__


def test_admission_names_every_charge() -> None:
    decision = _ask(build_snapshot(), _key())
    assert isinstance(decision, Admit)
    bucket, window = decision.charges
    assert isinstance(bucket, BucketCharge)
    assert isinstance(window, WindowCharge)
    assert bucket.key == "sub-1|burst|sub-1"
    assert window.key == f"sub-1|requests|{to_us(PERIOD.start)}"
    assert (window.quota, window.limit, window.units) == (1000, 1000, 1)


_CREDENTIALS: list[tuple[str, Headers, str]] = [
    ("header", _key(), "Admit"),
    ("other header", _key(name="apikey"), "Admit"),
    ("bearer, any case, more spaces", _key("beaRER   " + LIVE_KEY, "Authorization"), "Admit"),
    ("surrounding spaces", _key(f"  {LIVE_KEY} "), "Admit"),
    ("none", [], "credential_missing"),
    ("empty", _key(""), "credential_missing"),
    ("foreign bearer", _key("Bearer abc", "Authorization"), "credential_missing"),
    ("basic", _key("Basic YTpi", "Authorization"), "credential_missing"),
    ("typo", _key(LIVE_KEY[:-1] + "0"), "credential_invalid"),
    ("unknown", _key(build_key("live", bytes(16))), "credential_invalid"),
    ("joined", _key(f"{LIVE_KEY},{LIVE_KEY}"), "credential_invalid"),
    ("not ASCII", _key(LIVE_KEY + "\xe9"), "credential_invalid"),
    ("lower case", _key(LIVE_KEY.lower()), "credential_invalid"),
    ("twice", [*_key(), *_key()], "credential_ambiguous"),
    ("twice, in other case", [*_key(), *_key(name="x-api-key")], "credential_ambiguous"),
    ("two authorizations", [*_key(), ("Authorization", "a"), ("Authorization", "b")],
     "credential_ambiguous"),
    ("bad header, good bearer", [*_key("nonsense"), ("Authorization", "Bearer " + LIVE_KEY)],
     "credential_invalid"),
    ("sandbox key under the real clock", _key(SANDBOX_KEY), "credential_invalid"),
]  # fmt: skip


@pytest.mark.parametrize(("headers", "expected"), [row[1:] for row in _CREDENTIALS],
                         ids=[row[0] for row in _CREDENTIALS])  # fmt: skip
def test_credential_is_parsed(headers: Headers, expected: str) -> None:
    assert _code(_ask(build_snapshot(), headers)) == expected


def test_query_key_only_where_the_route_allows_it() -> None:
    target = f"/v1/x?a=1&apikey={LIVE_KEY}"
    assert _code(_ask(build_snapshot(), target=target)) == "credential_missing"
    allowed = build_snapshot(routes=[build_route(query_key=True)])
    assert _code(_ask(allowed, target=target)) == "Admit"
    twice = f"{target}&apikey={LIVE_KEY}"
    assert _code(_ask(allowed, target=twice)) == "credential_ambiguous"
    assert _code(_ask(allowed, _key("nonsense"), target=target)) == "credential_invalid"


def test_sandbox_takes_its_own_keys_only() -> None:
    sandbox = build_snapshot(sandbox=True)
    assert _code(_ask(sandbox, _key(SANDBOX_KEY))) == "Admit"
    assert _code(_ask(sandbox, _key(LIVE_KEY))) == "credential_invalid"
    assert _code(_ask(sandbox, _key(TEST_KEY))) == "Admit"


_CREDENTIAL_STATES: list[tuple[dict[str, Any], str]] = [
    ({"active": False}, "credential_invalid"),
    ({"expires_at": NOW}, "credential_invalid"),
    ({"expires_at": NOW + timedelta(microseconds=1)}, "Admit"),
    ({"not_before": NOW}, "Admit"),
    ({"not_before": NOW + timedelta(seconds=1)}, "credential_invalid"),
    ({"ip_allow": ("10.0.0.0/24",)}, "Admit"),
    ({"ip_allow": ("192.0.2.0/24",)}, "ip_forbidden"),
]


@pytest.mark.parametrize(("credential", "expected"), _CREDENTIAL_STATES)
def test_credential_state_decides(credential: dict[str, Any], expected: str) -> None:
    assert _code(_ask(build_snapshot(credential=credential), _key())) == expected


def test_expiry_goes_by_the_wall_clock() -> None:
    offset_us = 40 * 86_400_000_000
    snapshot = build_snapshot(
        credential={"expires_at": NOW + timedelta(days=1)}, offset_us=offset_us, sandbox=True,
        entitlement={"periods": (replace(PERIOD, end=NOW + timedelta(days=90)),)},
    )  # fmt: skip
    assert _code(_ask(snapshot, _key(SANDBOX_KEY), now_us=_NOW_US + offset_us)) == "Admit"


_STATES: list[tuple[dict[str, Any], str]] = [
    ({"state": EntitlementState.PAST_DUE_BLOCKED}, "subscription_past_due"),
    ({"state": EntitlementState.INACTIVE}, "subscription_inactive"),
    ({"segments": ()}, "subscription_inactive"),
    ({"periods": ()}, "quota_unavailable"),
]


@pytest.mark.parametrize(("entitlement", "expected"), _STATES)
def test_subscription_state_decides(entitlement: dict[str, Any], expected: str) -> None:
    decision = _ask(build_snapshot(entitlement=entitlement), _key())
    assert _code(decision) == expected
    assert isinstance(decision, Deny)
    assert decision.who is not None  # known credential: the refusal is an event
    assert decision.who.who.route == "everything"


def test_plan_decides_about_routes() -> None:
    granted = build_snapshot(plan=build_plan(routes=("route-1",)))
    assert _code(_ask(granted, _key())) == "Admit"
    other = build_snapshot(plan=build_plan(routes=("route-2",)))
    assert _code(_ask(other, _key())) == "not_in_plan"
    assert _code(_ask(build_snapshot(grants=[]), _key())) == "not_in_plan"


@pytest.mark.parametrize("hosts", [(), (b"a", b"a"), (b"a, b",), (b"a/b",), (b"u@a",), (b"",)])
def test_without_exactly_one_valid_host_nothing_is_looked_up(hosts: tuple[bytes, ...]) -> None:
    compiled = compile_snapshot(build_snapshot(), Options())
    raw = (*[(b"Host", host) for host in hosts], (b"X-API-Key", LIVE_KEY.encode()))
    facts = read_request(compiled, method="GET", target="/v1/x", raw=raw, http_1_0=False)
    assert _code(facts) == "request_malformed"


_SCOPES: list[tuple[str, tuple[str, ...], tuple[str, ...], str]] = [
    ("none required, none held", (), (), ""),
    ("none required, some held", (), ("maps:read",), ""),
    ("all", ("maps:read", "maps:write"), ("maps:write", "maps:read", "x"), ""),
    ("some", ("maps:read", "maps:write"), ("maps:read",), "maps:write"),
    ("none", ("maps:write", "maps:read"), (), "maps:read, maps:write"),
    ("a prefix is another scope", ("maps:read",), ("maps",), "maps:read"),
]


@pytest.mark.parametrize("key", [LIVE_KEY, TEST_KEY], ids=["live", "test"])
@pytest.mark.parametrize(("required", "held", "missing"), [row[1:] for row in _SCOPES],
                         ids=[row[0] for row in _SCOPES])  # fmt: skip
def test_a_key_must_hold_every_scope_of_its_route(
    key: str, required: tuple[str, ...], held: tuple[str, ...], missing: str
) -> None:
    credentials = [replace(c, scopes=held) for c in build_snapshot().credentials.values()]
    snapshot = build_snapshot(routes=[build_route(scopes=required)], credentials=credentials)
    decision = _ask(snapshot, _key(key))
    assert _code(decision) == ("insufficient_scope" if missing else "Admit")
    if isinstance(decision, Deny):
        assert decision.detail == f"The credential lacks: {missing}."
        assert decision.who is not None  # known credential: the refusal is an event
        assert decision.who.who.route == "everything"
        assert decision.upgrade_url == ""  # no plan gives a scope
    assert _code(_ask(snapshot, _key(key), target="/me/usage")) == "UsageQuery"


_NAMES = st.sets(st.sampled_from(["a", "b", "c:read", "c:write", "c"]))


@given(_NAMES, _NAMES)
def test_admitted_if_and_only_if_the_key_holds_what_is_required(
    required: set[str], held: set[str]
) -> None:
    snapshot = build_snapshot(
        routes=[build_route(scopes=tuple(sorted(required)))],
        credential={"scopes": tuple(sorted(held))},
    )
    assert isinstance(_ask(snapshot, _key()), Admit) == (required <= held)


def test_scopes_are_asked_before_the_plan() -> None:
    routes = [build_route(scopes=("a",))]
    assert _code(_ask(build_snapshot(routes=routes, grants=[]), _key())) == "insufficient_scope"
    narrow = build_snapshot(
        routes=routes, plan=build_plan(routes=()), credential={"scopes": ("a",)}
    )
    assert _code(_ask(narrow, _key())) == "not_in_plan"


def test_each_route_of_a_key_is_decided_on_its_own() -> None:
    """One admission is remembered per caller and route: the open one opens no other."""
    routes = [
        build_route(),
        build_route(id="route-2", name="write", path="/v1/write", scopes=("w",)),
    ]
    compiled = compile_snapshot(build_snapshot(routes=routes), Options())
    raw = ((b"Host", b"h"), (b"X-API-Key", LIVE_KEY.encode()))

    def ask(target: str) -> str:
        facts = read_request(compiled, method="GET", target=target, raw=raw, http_1_0=False)
        assert not isinstance(facts, Deny)
        return _code(decide(compiled, facts, _NOW_US))

    answers = [ask(target) for target in ("/v1/x", "/v1/write", "/v1/x", "/v1/write")]
    assert answers == ["Admit", "insufficient_scope"] * 2


def test_scheduled_upgrade_takes_effect_at_its_instant() -> None:
    change = NOW + timedelta(seconds=2)
    first = Segment(id="a", start=PERIOD.start, end=change, plan_version_id="plan-1")
    second = Segment(id="b", start=change, end=None, plan_version_id="plan-2")
    bigger = build_plan(id="plan-2", quotas=(Quota(meter="requests", quota=9000),))
    snapshot = build_snapshot(
        entitlement={"segments": (first, second)}, plan_versions=[build_plan(), bigger]
    )
    compiled = compile_snapshot(snapshot, Options())
    raw = ((b"Host", b"h"), (b"X-API-Key", LIVE_KEY.encode()))

    def quota_at(now_us: int) -> tuple[str, int]:
        facts = read_request(compiled, method="GET", target="/v1/x", raw=raw, http_1_0=False)
        assert not isinstance(facts, Deny)
        decision = decide(compiled, facts, now_us)
        assert isinstance(decision, Admit)
        window = decision.windows[0]
        return window.key, window.quota

    before, after = quota_at(to_us(change) - 1), quota_at(to_us(change))
    assert (before[1], after[1]) == (1000, 9000)
    assert before[0] == after[0]  # what was used stays used


def test_day_and_period_on_one_meter_have_counters_of_their_own() -> None:
    quotas = (
        Quota(meter="requests", quota=1000),
        Quota(meter="requests", quota=50, window=WindowKind.DAY),
    )
    first_day_us = to_us(PERIOD.start) + 5
    decision = _ask(build_snapshot(plan=build_plan(quotas=quotas)), _key(), now_us=first_day_us)
    assert isinstance(decision, Admit)
    period, day = decision.windows
    assert period.start_us == day.start_us
    assert period.key != day.key
    assert day.end_us - day.start_us == 86_400_000_000


@pytest.mark.parametrize(("percent", "limit"), [(100, 1000), (120, 1200), (0, None)])
def test_block_comes_at_the_ceiling(percent: int, limit: int | None) -> None:
    plan = build_plan(quotas=(Quota(meter="requests", quota=1000, block_at_percent=percent),))
    decision = _ask(build_snapshot(plan=plan), _key())
    assert isinstance(decision, Admit)
    assert decision.windows[0].limit == limit


def test_too_large_body_is_refused_before_the_limits() -> None:
    snapshot = build_snapshot(routes=[build_route(max_body_bytes=10)])
    headers = [*_key(), ("Content-Length", "11")]
    assert _code(_ask(snapshot, headers, method="POST")) == "body_too_large"


def test_public_route_needs_no_key_and_takes_nothing() -> None:
    decision = _ask(build_snapshot(routes=[build_route(public=True)]))
    assert isinstance(decision, Admit)
    assert decision.charges == ()
    assert decision.identity_lines == b""


def test_unknown_path_and_method_come_before_the_credential() -> None:
    snapshot = build_snapshot(routes=[build_route(methods=("GET",))])
    assert _code(_ask(snapshot, target="/other")) == "route_not_found"
    wrong = _ask(snapshot, method="POST")
    assert isinstance(wrong, Deny)
    assert (wrong.code, wrong.allow) == ("method_not_allowed", "GET, HEAD")


def test_usage_asks_about_every_policy_and_takes_nothing() -> None:
    decision = _ask(build_snapshot(), _key(), target="/me/usage")
    assert isinstance(decision, UsageQuery)
    (line,) = decision.lines
    assert line.apis == ("weather",)
    assert [charge.units for charge in line.charges] == [0, 0]
    assert _code(_ask(build_snapshot(), target="/me/usage")) == "credential_missing"


def test_unpublished_api_has_no_routes() -> None:
    snapshot = build_snapshot()
    hidden = {"api-1": replace(snapshot.apis["api-1"], published=False)}
    assert _code(_ask(replace(snapshot, apis=hidden), _key())) == "route_not_found"


_BROKEN: list[tuple[str, dict[str, Any]]] = [
    ("route path", {"routes": [build_route(path="/a/*/b")]}),
    ("dot segment", {"routes": [build_route(path="/a/../b")]}),
    ("method", {"routes": [build_route(methods=("CONNECT",))]}),
    ("scope of a public route", {"routes": [build_route(public=True, scopes=("a",))]}),
    ("no scope's name", {"routes": [build_route(scopes=("Read",))]}),
    ("target", {"upstream": {"targets": {"ftp://x": 1}}}),
    ("base path", {"upstream": {"base_path": "/x/"}}),
    ("address list", {"credential": {"ip_allow": ("10.0.0.0/99",)}}),
    ("block below the quota", {"plan": build_plan(
        quotas=(Quota(meter="requests", quota=10, block_at_percent=50),))}),
]  # fmt: skip


@pytest.mark.parametrize("parts", [row[1] for row in _BROKEN], ids=[row[0] for row in _BROKEN])
def test_snapshot_that_cannot_be_used_is_refused(parts: dict[str, Any]) -> None:
    with pytest.raises(SnapshotError):
        compile_snapshot(build_snapshot(**parts), Options())
