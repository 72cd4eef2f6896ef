"""The request head that goes to the upstream, as bytes (`gateway.md` §4, upward)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.contracts.snapshot import Route
from gateway.core.auth import KEY_PARAMETER, carries_our_key
from gateway.core.compile import Admit
from gateway.core.decision import Facts
from gateway.core.headers import Role
from gateway.core.target import Target, query_values, without_parameter
from gateway.core.upstreams import UpstreamTarget, upstream_path

VIA: Final = b"1.1 tollway"


@dataclass(frozen=True, slots=True)
class Hop:
    """How the client reached us. `trusted` = the peer is one of our own proxies."""

    peer: str
    scheme: bytes
    port: int
    trusted: bool


def request_head(
    admit: Admit, facts: Facts, target: UpstreamTarget, *, hop: Hop, request_id: str,
    trace_lines: bytes,
) -> bytes:  # fmt: skip
    """Build request line and header lines, the empty line included."""
    headers = facts.headers
    route, upstream = admit.route.route, admit.route.upstream.upstream
    path = upstream_path(route, upstream, Target(facts.target.path, _query(route, facts)))
    host = upstream.host_header or target.authority
    lines = [
        f"{facts.method} {path} HTTP/1.1\r\nHost: {host}\r\n".encode(),
        *headers.lines,
        *_authorization(facts),
        _framing(facts),
        forwarded_lines(facts, hop),
        admit.identity_lines,
        f"X-Request-Id: {request_id}\r\n".encode(),
        trace_lines,
        b"\r\n",
    ]
    return b"".join(lines)


def _query(route: Route, facts: Facts) -> str | None:
    """Pass the query on without a key: a parameter of that name may be the upstream's own."""
    query = facts.target.query
    if not query or KEY_PARAMETER not in query:
        return query
    takes_key = route.query_key and not route.public
    if takes_key or any(map(carries_our_key, query_values(query, KEY_PARAMETER))):
        return without_parameter(query, KEY_PARAMETER)
    return query


def _authorization(facts: Facts) -> Sequence[bytes]:
    """Pass an `Authorization` on unless it holds one of our keys."""
    if Role.AUTHORIZATION not in facts.headers.others:
        return ()
    values = facts.headers.values(Role.AUTHORIZATION)
    return [b"Authorization: %b\r\n" % value for value in values if not carries_our_key(value)]


def _framing(facts: Facts) -> bytes:
    if facts.body_length is None:
        return b"Transfer-Encoding: chunked\r\n"
    if facts.body_length or Role.LENGTH in facts.headers.others:
        return b"Content-Length: %d\r\n" % facts.body_length
    return b""


def forwarded_lines(facts: Facts, hop: Hop) -> bytes:
    """Say who asked us, how. A chain from a trusted proxy is continued, else replaced."""
    chain, scheme = hop.peer.encode(), hop.scheme
    if hop.trusted:
        chain = b", ".join([*facts.headers.values(Role.FORWARDED_FOR), chain])
        said = facts.headers.values(Role.FORWARDED_PROTO)
        scheme = said[0] if said in ([b"http"], [b"https"]) else scheme
    via = b", ".join([*facts.headers.values(Role.VIA), VIA])
    return (
        b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Host: %b\r\n"
        b"X-Forwarded-Port: %d\r\nVia: %b\r\n"
    ) % (chain, scheme, facts.headers.host[0], hop.port, via)
