"""Hostile and odd requests over a real socket: what is refused never reaches the upstream."""

import pytest

from tests.factories.snapshots import LIVE_KEY, build_route
from tests.integration.gateway.rig import parse_answer, running

_KEY = f"X-API-Key: {LIVE_KEY}\r\n".encode()
_H = b"Host: api.example\r\n"


def _get(target: bytes, more: bytes = b"", *, method: bytes = b"GET") -> bytes:
    head = b"%b %b HTTP/1.1\r\n%b%bConnection: close\r\n%b\r\n"
    return head % (method, target, _H, _KEY, more)


_TARGETS = [
    b"/v1/../admin", b"/v1/%2e%2e/admin", b"/v1/..%2fadmin", b"/v1%2fx", b"/v1/%5cx", b"//v1/x",
    b"/v1//x", b"/v1/x;a=1", b"/v1/x\\y", b"/v1/%00", b"/v1/%zz", b"/v1/x#frag", b"/v1/x%",
    b"http://evil/v1/x", b"/v1/\xc3\xa9", b"*", b"/v1/.", b"/v1/./x",
]  # fmt: skip


@pytest.mark.parametrize("target", _TARGETS)
async def test_target_is_refused(target: bytes) -> None:
    async with running() as rig:
        answer = parse_answer(await rig.raw(_get(target)))
        assert answer.status == 400
        assert answer.headers["connection"] == "close"
        assert not rig.upstream.heads
        assert not rig.spool.lines


_MALFORMED: list[tuple[str, bytes]] = [
    ("length and coding", b"POST /v1/x HTTP/1.1\r\n" + _H + _KEY
     + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("two lengths", b"POST /v1/x HTTP/1.1\r\n" + _H + _KEY
     + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
    ("length list", b"POST /v1/x HTTP/1.1\r\n" + _H + _KEY + b"Content-Length: 5, 5\r\n\r\nhello"),
    ("signed length", b"POST /v1/x HTTP/1.1\r\n" + _H + _KEY + b"Content-Length: +5\r\n\r\nhello"),
    ("odd coding", b"POST /v1/x HTTP/1.1\r\n" + _H + _KEY
     + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    ("coding in 1.0", b"POST /v1/x HTTP/1.0\r\n" + _H + _KEY
     + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("space before the colon", b"GET /v1/x HTTP/1.1\r\n" + _H + _KEY + b"X-A : b\r\n\r\n"),
    ("obs-fold", b"GET /v1/x HTTP/1.1\r\n" + _H + _KEY + b"X-A: b\r\n c\r\n\r\n"),
    ("bare LF lines", b"GET /v1/x HTTP/1.1\n" + _H.replace(b"\r", b"")
     + _KEY.replace(b"\r", b"") + b"\n"),
    ("bare CR in a value", b"GET /v1/x HTTP/1.1\r\n" + _H + _KEY + b"X-A: b\rc\r\n\r\n"),
    ("NUL in a value", b"GET /v1/x HTTP/1.1\r\n" + _H + _KEY + b"X-A: b\x00c\r\n\r\n"),
    ("empty name", b"GET /v1/x HTTP/1.1\r\n" + _H + _KEY + b": b\r\n\r\n"),
    ("no host", b"GET /v1/x HTTP/1.1\r\n" + _KEY + b"\r\n"),
    ("two hosts", b"GET /v1/x HTTP/1.1\r\n" + _H + _H + _KEY + b"\r\n"),
    ("host with a path", b"GET /v1/x HTTP/1.1\r\nHost: a/b\r\n" + _KEY + b"\r\n"),
    ("version 2", b"GET /v1/x HTTP/2.0\r\n" + _H + _KEY + b"\r\n"),
    ("version 0.9", b"GET /v1/x\r\n\r\n"),
    ("no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n"),
    ("CONNECT", b"CONNECT api.example:443 HTTP/1.1\r\n" + _H + _KEY + b"\r\n"),
    ("TRACE", b"TRACE /v1/x HTTP/1.1\r\n" + _H + _KEY + b"\r\n"),
    ("broken chunk", b"POST /v1/x HTTP/1.1\r\n" + _H + _KEY
     + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n"),
]  # fmt: skip


@pytest.mark.parametrize("raw", [row[1] for row in _MALFORMED], ids=[row[0] for row in _MALFORMED])
async def test_malformed_request_is_400_and_the_connection_closes(raw: bytes) -> None:
    async with running() as rig:
        answer = parse_answer(await rig.raw(raw))
        assert answer.status == 400
        assert answer.headers["content-type"] == "application/problem+json"
        assert not any(event.charge == "billed" for event in rig.spool.events)


async def test_smuggled_second_request_is_not_served() -> None:
    smuggled = (
        b"POST /v1/x HTTP/1.1\r\n" + _H + _KEY
        + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        + _get(b"/v1/admin")
    )  # fmt: skip
    async with running() as rig:
        raw = await rig.raw(smuggled)
        assert raw.count(b"HTTP/1.1 ") == 1
        assert not rig.upstream.heads


_FORGED = [
    b"X-Consumer-Username: root", b"x-consumer-USERNAME: root", b"X_Consumer_Username: root",
    b"X.Consumer.Username: root", b"X-Credential-Identifier: root", b"X-Consumer-Custom-ID: 0",
    b"X-Forwarded-For: 6.6.6.6", b"X-Real-IP: 6.6.6.6", b"Forwarded: for=6.6.6.6",
    b"X-Original-URL: /admin", b"X-Forwarded-Prefix: /admin", b"X-Forwarded-Host: evil",
    b"Connection: X-Consumer-Username", b"Connection: Host", b"Connection: X-Forwarded-For",
]  # fmt: skip


@pytest.mark.parametrize("line", _FORGED)
async def test_identity_is_ours_alone(line: bytes) -> None:
    async with running() as rig:
        await rig.raw(_get(b"/v1/x", line + b"\r\n"))
        head = rig.upstream.heads[0]
        lines = head.lower().split(b"\r\n")
        assert lines.count(b"x-consumer-username: acme") == 1
        assert lines.count(b"x-credential-identifier: cred-live") == 1
        assert lines.count(b"x-consumer-custom-id: 42") == 1
        assert lines.count(b"x-forwarded-for: 127.0.0.1") == 1
        assert lines.count(b"x-forwarded-host: api.example") == 1
        assert sum(line.startswith(b"host:") for line in lines) == 1
        assert not any(word in head for word in (b"root", b"6.6.6.6", b"admin", b"evil"))


async def test_public_route_sends_no_identity_and_no_client_copy() -> None:
    async with running(routes=[build_route(public=True)]) as rig:
        await rig.raw(_get(b"/v1/x", b"X-Consumer-Username: root\r\n"))
        assert b"consumer" not in rig.upstream.heads[0].lower()
        assert LIVE_KEY.encode() not in rig.upstream.heads[0]
        assert rig.spool.events[0].charge_reason == "public"


async def test_credential_never_travels_up() -> None:
    async with running(routes=[build_route(query_key=True)]) as rig:
        target = f"/v1/x?b=2&apikey={LIVE_KEY}&a=%20".encode()
        await rig.raw(_get(target, f"Authorization: Bearer {LIVE_KEY}\r\n".encode()))
        head = rig.upstream.heads[0]
        assert head.startswith(b"GET /v1/x?b=2&a=%20 HTTP/1.1\r\n")
        assert LIVE_KEY.encode() not in head


_COPIES = [
    (f"/v1/x?apikey={LIVE_KEY}", b""),
    (f"/v1/x?apikey=%74{LIVE_KEY[1:]}&apikey=mine", b""),
    ("/v1/x", f"Authorization: Bearer\t{LIVE_KEY}\r\n".encode()),
    ("/v1/x", f"Authorization: ApiKey {LIVE_KEY}\r\n".encode()),
    ("/v1/x", f"Authorization: Bearer a, {LIVE_KEY}\r\n".encode()),
]


@pytest.mark.parametrize("is_public", [False, True])
@pytest.mark.parametrize(("target", "line"), _COPIES)
async def test_no_copy_of_a_key_travels_up_wherever_it_stands(
    target: str, line: bytes, is_public: bool
) -> None:
    async with running(routes=[build_route(public=is_public)]) as rig:
        await rig.raw(_get(target.encode(), line))
        head = rig.upstream.heads[0]
        assert LIVE_KEY[1:].encode() not in head
        assert b"authorization" not in head.lower()


async def test_a_parameter_of_that_name_may_be_the_upstreams_own() -> None:
    async with running() as rig:
        await rig.raw(_get(b"/v1/x?apikey=theirs&a=1"))
        assert rig.upstream.heads[0].startswith(b"GET /v1/x?apikey=theirs&a=1 HTTP/1.1\r\n")


async def test_foreign_authorization_passes() -> None:
    async with running() as rig:
        await rig.raw(_get(b"/v1/x", b"Authorization: Basic YTpi\r\n"))
        assert b"Authorization: Basic YTpi\r\n" in rig.upstream.heads[0]


async def test_trusted_proxy_extends_the_chain() -> None:
    async with running(trusted=("127.0.0.0/8",)) as rig:
        await rig.raw(
            _get(b"/v1/x", b"X-Forwarded-For: 192.0.2.9\r\nX-Forwarded-Proto: https\r\n")
        )
        assert b"X-Forwarded-For: 192.0.2.9, 127.0.0.1\r\n" in rig.upstream.heads[0]
        assert b"X-Forwarded-Proto: https\r\n" in rig.upstream.heads[0]
        assert rig.spool.events[0].client_ip == "192.0.2.9"


@pytest.mark.parametrize(
    ("more", "code"),
    [(b"", "credential_missing"), (b"X-API-Key: nonsense\r\n", "credential_invalid"),
     (_KEY + _KEY, "credential_ambiguous")],
)  # fmt: skip
async def test_401_says_which_and_stays_out_of_the_spool(more: bytes, code: str) -> None:
    async with running() as rig:
        request = b"GET /v1/x HTTP/1.1\r\n" + _H + b"Connection: close\r\n" + more + b"\r\n"
        answer = parse_answer(await rig.raw(request))
        assert answer.status == 401
        assert f'"code":"{code}"'.encode() in answer.body
        assert answer.headers["www-authenticate"] == 'ApiKey realm="tollway"'
        assert "x-ratelimit-limit" not in answer.headers
        assert not rig.spool.lines
        assert rig.stats.auth_log[0].code == code
        assert not rig.spool.open


async def test_problem_document_is_whole() -> None:
    async with running() as rig:
        answer = await rig.get("/nowhere")
        assert answer.status == 404
        assert b'"instance":"/nowhere"' in answer.body
        assert f'"request_id":"{answer.headers["x-request-id"]}"'.encode() in answer.body
        assert b'"docs_url":"/docs/errors#route_not_found"' in answer.body
        wrong = await rig.get("/me/usage", method="POST")
        assert (wrong.status, wrong.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    ("raw", "status"),
    [(_get(b"/v1/" + b"a" * 9000), 414), (_get(b"/v1/x", b"X-A: " + b"a" * 9000 + b"\r\n"), 431),
     (_get(b"/v1/x", b"X-A: a\r\n" * 200), 431)],
)  # fmt: skip
async def test_what_is_too_long_is_told_apart(raw: bytes, status: int) -> None:
    async with running() as rig:
        assert parse_answer(await rig.raw(raw)).status == status
        assert not rig.upstream.heads


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with running() as rig:
        first = _get(b"/v1/1").replace(b"Connection: close\r\n", b"")
        raw = await rig.raw(first + first.replace(b"/v1/1", b"/v1/2") + _get(b"/v1/3"))
        assert raw.count(b"HTTP/1.1 200 OK") == 3
        assert [head.split(b" ")[1] for head in rig.upstream.heads] == [
            b"/v1/1", b"/v1/2", b"/v1/3",
        ]  # fmt: skip
        assert rig.upstream.connections == 1


async def test_safe_request_id_is_kept_and_trace_goes_on() -> None:
    async with running() as rig:
        trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        answer = await rig.get(headers={"X-Request-Id": "mine-1", "traceparent": trace})
        assert answer.headers["x-request-id"] == "mine-1"
        assert b"X-Request-Id: mine-1\r\n" in rig.upstream.heads[0]
        assert b"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-" in rig.upstream.heads[0]
        assert trace.encode() not in rig.upstream.heads[0]
        assert rig.spool.events[0].trace_id == "4bf92f3577b34da6a3ce929d0e0e4736"
