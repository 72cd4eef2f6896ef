"""Header hygiene: what goes up, what comes down, what is refused."""

import pytest

from gateway.contracts.snapshot import Quota
from gateway.core.addresses import TrustedProxies, is_within, parse_networks
from gateway.core.auth import KEY_HEADERS
from gateway.core.charges import BucketCharge, Level, WindowCharge
from gateway.core.headers import (
    HeaderRoles,
    check_request_headers,
    host_name,
    scan_request,
)
from gateway.core.limit_headers import (
    level_lines,
    policy_line,
    policy_lines,
    refused_lines,
    returned_levels,
)
from gateway.core.response_headers import ResponseRoles, scan_response

_ROLES = HeaderRoles(KEY_HEADERS)
_RESPONSE_ROLES = ResponseRoles()
Pairs = list[tuple[bytes, bytes]]


def _up(*pairs: tuple[bytes, bytes]) -> list[bytes]:
    return scan_request(((b"Host", b"h"), *pairs), _ROLES).lines


@pytest.mark.parametrize(
    "name",
    [b"X-Consumer-Username", b"x-consumer-id", b"X_Consumer_Username", b"x.consumer.username",
     b"X-Credential-Identifier", b"X-Forwarded-For", b"X-Forwarded-Prefix", b"X-Original-URI",
     b"X-Rewrite-URL", b"X-Envoy-Original-Path", b"X-Real-IP", b"Forwarded", b"Keep-Alive",
     b"Upgrade", b"TE", b"Trailer", b"Proxy-Authorization", b"HTTP2-Settings", b"X-API-Key",
     b"apikey", b"Tollway-Quota-State", b"True-Client-IP", b"X-HTTP-Method-Override"],
)  # fmt: skip
def test_name_is_not_passed_up(name: bytes) -> None:
    assert _up((name, b"forged"), (name.upper(), b"forged")) == []


def test_other_lines_pass_in_order_and_byte_for_byte() -> None:
    lines = _up((b"aCCept", b"a/b"), (b"X-Thing", b"\xff 1"), (b"Cookie", b"a=b"))
    assert lines == [b"aCCept: a/b\r\n", b"X-Thing: \xff 1\r\n", b"Cookie: a=b\r\n"]


def test_connection_drops_what_it_names() -> None:
    assert _up((b"X-A", b"1"), (b"Connection", b"close, x-a"), (b"X-B", b"2")) == [b"X-B: 2\r\n"]


_HEADER_BLOCKS: list[tuple[str, Pairs, bool]] = [
    ("one host", [(b"Host", b"a.example:80")], True),
    ("IPv6 host", [(b"Host", b"[::1]:80")], True),
    ("length and coding", [(b"Host", b"a"), (b"Content-Length", b"1"),
                           (b"Transfer-Encoding", b"chunked")], False),
    ("two lengths", [(b"Host", b"a"), (b"Content-Length", b"1"),
                     (b"Content-Length", b"1")], False),
    ("length list", [(b"Host", b"a"), (b"Content-Length", b"1, 1")], False),
    ("signed length", [(b"Host", b"a"), (b"Content-Length", b"+1")], False),
    ("other coding", [(b"Host", b"a"), (b"Transfer-Encoding", b"gzip, chunked")], False),
    ("coding twice", [(b"Host", b"a"), (b"Transfer-Encoding", b"chunked"),
                      (b"Transfer-Encoding", b"chunked")], False),
    ("expectation", [(b"Host", b"a"), (b"Expect", b"magic")], False),
    ("line feed in a value", [(b"Host", b"a"), (b"X", b"a\nb")], False),
    ("NUL in a value", [(b"Host", b"a"), (b"X", b"a\x00b")], False),
    ("space in a name", [(b"Host", b"a"), (b"X ", b"b")], False),
    ("empty name", [(b"Host", b"a"), (b"", b"b")], False),
]  # fmt: skip


@pytest.mark.parametrize(("pairs", "accepted"), [row[1:] for row in _HEADER_BLOCKS],
                         ids=[row[0] for row in _HEADER_BLOCKS])  # fmt: skip
def test_header_block_is_checked(pairs: Pairs, accepted: bool) -> None:
    raw = tuple(pairs)
    assert (
        check_request_headers(raw, scan_request(raw, _ROLES), http_1_0=False) == ""
    ) == accepted


@pytest.mark.parametrize(
    "value", [b"", b"a, b", b"a/b", b"u@a", b"a:", b":80", b"-a", b"a:123456"]
)
def test_a_doubtful_host_has_no_name(value: bytes) -> None:
    assert host_name(value) == ""


def test_response_lines_lose_what_is_not_for_the_client() -> None:
    found = scan_response(
        [(b"Server", b"x"), (b"Keep-Alive", b"1"), (b"X-RateLimit-Limit", b"9"), (b"ETag", b"1"),
         (b"Connection", b"close, X-Hop"), (b"X-Hop", b"1"), (b"Content-Length", b"3")],
        ResponseRoles(frozenset((b"server",))),
    )  # fmt: skip
    assert found.lines == [b"ETag: 1\r\n"]
    assert (found.length, found.close, found.wrong) == (3, True, "")


@pytest.mark.parametrize(
    "pairs",
    [[(b"Content-Length", b"1"), (b"Content-Length", b"1")], [(b"Content-Length", b"x")],
     [(b"Content-Length", b"1"), (b"Transfer-Encoding", b"chunked")],
     [(b"Transfer-Encoding", b"gzip")], [(b"X", b"a\rb")], [(b"X\x00", b"a")]],
)  # fmt: skip
def test_doubtful_response_is_noticed(pairs: Pairs) -> None:
    assert scan_response(pairs, _RESPONSE_ROLES).wrong


def test_client_address_is_the_rightmost_that_is_not_ours() -> None:
    proxies = TrustedProxies(parse_networks(["10.0.0.0/8", "::1/128"]))
    assert proxies.client_of("192.0.2.1", [b"6.6.6.6"]) == "192.0.2.1"
    assert proxies.client_of("10.0.0.1", [b"6.6.6.6, 192.0.2.7"]) == "192.0.2.7"
    assert proxies.client_of("10.0.0.1", [b"6.6.6.6", b"192.0.2.7, 10.0.0.2"]) == "192.0.2.7"
    assert proxies.client_of("10.0.0.1", [b"nonsense"]) == "10.0.0.1"
    assert proxies.client_of("::ffff:10.0.0.1", [b"192.0.2.7"]) == "192.0.2.7"
    assert TrustedProxies(()).client_of("10.0.0.1", [b"6.6.6.6"]) == "10.0.0.1"


_BUCKET = BucketCharge("k", "burst", rate=10, per_us=1_000_000, burst=100)
_WINDOW = WindowCharge("e|requests|0", "requests", 0, 86_400_000_000, 50, 60, 1)


def test_address_with_a_zone_is_no_client() -> None:
    """What stands behind the % is any text; it would get into the event's line as it is."""
    proxies = TrustedProxies(parse_networks(["10.0.0.0/8"]))
    assert proxies.client_of("10.0.0.9", [b'fe80::1%"}']) == "10.0.0.9"


def test_list_of_mapped_addresses_holds_the_plain_ones() -> None:
    networks = parse_networks(["::ffff:10.1.0.0/112", "::/0"])
    assert [is_within(text, networks[:1]) for text in ("10.1.2.3", "::ffff:10.1.2.3")] == [
        True
    ] * 2
    assert not is_within("10.2.0.0", networks[:1])
    assert not is_within("10.2.0.0", networks[1:])


def test_units_that_come_back_beyond_a_quota_leave_nothing_there() -> None:
    over = WindowCharge("sub|requests|0", "requests", 0, 9, quota=10, limit=None, units=2)
    (level,) = returned_levels([over], [Level(remaining=0, used=15, reset_us=9)])
    assert level == Level(remaining=0, used=13, reset_us=9)
    (level,) = returned_levels([over], [Level(remaining=0, used=11, reset_us=9)])
    assert level == Level(remaining=1, used=9, reset_us=9)


def test_tightest_policy_fills_the_headers() -> None:
    levels = (Level(99, 0, 100_000), Level(10, 50, 3_600_000_001))
    month = policy_lines(_WINDOW, Quota(meter="requests", quota=50))
    lines = level_lines((policy_lines(_BUCKET, None), month), levels)
    assert lines == (
        b"X-RateLimit-Limit: 60\r\nX-RateLimit-Remaining: 10\r\nX-RateLimit-Reset: 3601\r\n"
        b'RateLimit: "requests";r=10;t=3601\r\nTollway-Quota-State: included\r\n'
    )
    assert policy_line((_BUCKET, _WINDOW)) == (
        b'RateLimit-Policy: "burst";q=100;w=10,"requests";q=60;w=86400\r\n'
    )
    assert refused_lines(_BUCKET, retry_after_s=2) == (
        b"X-RateLimit-Limit: 100\r\nX-RateLimit-Remaining: 0\r\nX-RateLimit-Reset: 2\r\n"
        b'RateLimit: "burst";r=0;t=2\r\n'
    )


def test_quota_that_never_blocks_is_never_the_tightest() -> None:
    free = WindowCharge("e|requests|0", "requests", 0, 86_400_000_000, 50, None, 1)
    policies = (policy_lines(free, None), policy_lines(_BUCKET, None))
    lines = level_lines(policies, (Level(0, 70, 1), Level(99, 0, 1)))
    assert lines.startswith(b"X-RateLimit-Limit: 100\r\nX-RateLimit-Remaining: 99\r\n")
    assert level_lines(policies[::-1], (Level(99, 0, 1), Level(0, 70, 1))) == lines


def test_of_two_that_are_equally_tight_the_later_reset_is_told() -> None:
    policies = (policy_lines(_BUCKET, None), policy_lines(_WINDOW, None))
    lines = level_lines(policies, (Level(3, 0, 1_000_000), Level(3, 57, 9_000_000)))
    assert b"X-RateLimit-Reset: 9\r\n" in lines
    lines = level_lines(policies, (Level(3, 0, 9_000_000), Level(3, 57, 1_000_000)))
    assert b'RateLimit: "burst";r=3;t=9\r\n' in lines


@pytest.mark.parametrize(
    ("used", "state"), [(50, b"included"), (51, b"buffer"), (57, b"buffer"), (58, b"overage")]
)
def test_state_changes_where_quota_and_buffer_end(used: int, state: bytes) -> None:
    month = policy_lines(_WINDOW, Quota(meter="requests", quota=50, buffer_percent=115))
    lines = level_lines((month,), (Level(60 - used, used, 1),))
    assert lines.endswith(b"Tollway-Quota-State: %b\r\n" % state)
