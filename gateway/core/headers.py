"""Header hygiene, both ways: what is read, what is dropped, what is passed on (`gateway.md` §4).

`scan_request` walks the raw header lines once and sorts them into roles; the lines to forward are
kept as bytes. Names are classified once and remembered, because clients repeat themselves.
"""

import re
from dataclasses import dataclass, field
from enum import IntEnum, auto
from typing import Final

RawHeaders = tuple[tuple[bytes, bytes], ...]


_NONE: Final[list[bytes]] = []


class Role(IntEnum):
    KEEP = auto()
    INVALID = auto()
    DROP = auto()
    HOST = auto()
    LENGTH = auto()
    CODING = auto()
    CONNECTION = auto()
    EXPECT = auto()
    KEY = auto()
    AUTHORIZATION = auto()
    FORWARDED_FOR = auto()
    FORWARDED_PROTO = auto()
    VIA = auto()
    REQUEST_ID = auto()
    TRACEPARENT = auto()
    TRACESTATE = auto()
    AGENT = auto()


_ROLES: Final[dict[bytes, Role]] = {
    b"host": Role.HOST,
    b"content-length": Role.LENGTH,
    b"transfer-encoding": Role.CODING,
    b"connection": Role.CONNECTION,
    b"expect": Role.EXPECT,
    b"authorization": Role.AUTHORIZATION,
    b"x-forwarded-for": Role.FORWARDED_FOR,
    b"x-forwarded-proto": Role.FORWARDED_PROTO,
    b"via": Role.VIA,
    b"x-request-id": Role.REQUEST_ID,
    b"traceparent": Role.TRACEPARENT,
    b"tracestate": Role.TRACESTATE,
    b"user-agent": Role.AGENT,
}
_HOP_BY_HOP: Final = frozenset(
    b"keep-alive proxy-connection proxy-authenticate proxy-authorization te trailer upgrade"
    b" http2-settings connection transfer-encoding".split()
)
_FORGED: Final = frozenset(
    b"forwarded x-real-ip x-client-ip true-client-ip cf-connecting-ip x-cluster-client-ip"
    b" x-http-method-override x-method-override x-http-method x-remote-user remote-user"
    b" x-anonymous-consumer".split()
)
"""Names by which a client could claim an address, a method or an identity."""
_FORGED_FAMILIES: Final = tuple(
    b"x-forwarded- x-original- x-rewrite- x-envoy- x-consumer- x-credential- x-authenticated-"
    b" x-tollway- tollway-".split()
)
_MAX_REMEMBERED: Final = 4096
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_HOST: Final = re.compile(
    rb"([A-Za-z0-9](?:[A-Za-z0-9.\-]{0,252})|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?\Z"
)
_LENGTH: Final = re.compile(rb"[0-9]{1,18}\Z")
_FORBIDDEN_VALUE: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class HeaderRoles:
    """Classifies request header names; `key_names` carry API keys, in this order."""

    def __init__(self, key_names: tuple[str, ...]) -> None:
        self.key_names: Final = tuple(name.lower().encode() for name in key_names)
        self._known: dict[bytes, Role] = {}

    def __call__(self, name: bytes) -> Role:
        role = self._known.get(name)
        if role is None:
            role = self._classify(name.lower())
            if len(self._known) < _MAX_REMEMBERED:
                self._known[name] = role
        return role

    def _classify(self, name: bytes) -> Role:
        if not _NAME.match(name):
            return Role.INVALID
        if name in self.key_names:
            return Role.KEY
        if name in _ROLES:
            return _ROLES[name]
        aliased = b"_" in name or b"." in name  # they stand for a dash in many servers
        forged = name in _FORGED or name.startswith(_FORGED_FAMILIES)
        return Role.DROP if aliased or forged or name in _HOP_BY_HOP else Role.KEEP


@dataclass(slots=True)
class RequestHeaders:
    """What a request's header lines said. Lists keep every occurrence, so that twice is seen."""

    lines: list[bytes] = field(default_factory=list)  # to forward, CRLF included
    host: list[bytes] = field(default_factory=list)
    keys: dict[bytes, list[bytes]] = field(default_factory=dict)  # lower-case name -> values
    others: dict[Role, list[bytes]] = field(default_factory=dict)
    user_agent: bytes = b""
    expects_continue: bool = False
    malformed: str = ""  # why the lines are refused

    def values(self, role: Role) -> list[bytes]:
        return self.others.get(role, _NONE)

    @property
    def content_length(self) -> int | None:
        lengths = self.others.get(Role.LENGTH)
        return int(lengths[0]) if lengths else None

    @property
    def is_chunked(self) -> bool:
        return Role.CODING in self.others


def scan_request(raw: RawHeaders, roles: HeaderRoles) -> RequestHeaders:
    """Sort the lines by role in one walk."""
    found = RequestHeaders()
    lines = found.lines
    for name, value in raw:
        role = roles(name)
        if role is Role.KEEP:
            lines.append(b"%b: %b\r\n" % (name, value))
        elif role is Role.HOST:
            found.host.append(value)
        elif role is Role.AGENT:
            found.user_agent = value
            lines.append(b"%b: %b\r\n" % (name, value))
        elif role is not Role.DROP:
            _take(found, role, name, value)
    if Role.CONNECTION in found.others:
        _drop_named(found)
    return found


def _take(found: RequestHeaders, role: Role, name: bytes, value: bytes) -> None:
    if role is Role.KEY:
        found.keys.setdefault(name.lower(), []).append(value)
    elif role is Role.INVALID:
        found.malformed = "A header name holds a forbidden byte."
    elif role is Role.EXPECT:
        found.expects_continue = value.strip().lower() == b"100-continue"
        if not found.expects_continue:
            found.malformed = "Expect asks for something other than 100-continue."
    else:
        found.others.setdefault(role, []).append(value)


def connection_tokens(values: list[bytes]) -> set[bytes]:
    """Return the lower-case names that `Connection` lists."""
    return {token.strip().lower() for value in values for token in value.split(b",")}


def _drop_named(found: RequestHeaders) -> None:
    """Drop the lines that `Connection` names; those of ours are set anew anyway."""
    named = connection_tokens(found.values(Role.CONNECTION)) - {b"keep-alive", b"close", b""}
    if named:
        found.lines = [ln for ln in found.lines if ln[: ln.index(b":")].lower() not in named]


def check_request_headers(raw: RawHeaders, found: RequestHeaders, *, http_1_0: bool) -> str:
    """Return why the header block is refused with 400, or an empty string.

    The C parser refuses most of this already; the rules stand here again, because another parser
    may sit in front one day.
    """
    if found.malformed:
        return found.malformed
    if len(found.host) != 1 or not _HOST.match(found.host[0]):
        return "Exactly one valid Host is needed."
    if Role.LENGTH in found.others or Role.CODING in found.others:
        why = _check_framing(found, http_1_0=http_1_0)
        if why:
            return why
    if _FORBIDDEN_VALUE.search(b" ".join([value for _, value in raw])):
        return "A header value holds a forbidden byte."
    return ""


def _check_framing(found: RequestHeaders, *, http_1_0: bool) -> str:
    lengths, codings = found.values(Role.LENGTH), found.values(Role.CODING)
    if lengths and codings:
        return "Content-Length and Transfer-Encoding exclude each other."
    if len(lengths) > 1 or (lengths and not _LENGTH.match(lengths[0])):
        return "Content-Length must be one plain number."
    if codings and (http_1_0 or [value.lower() for value in codings] != [b"chunked"]):
        return "The only transfer coding accepted is chunked, in HTTP/1.1."
    return ""


@dataclass(slots=True)
class ResponseHeaders:
    """What an upstream's header lines said."""

    lines: list[bytes] = field(default_factory=list)  # to pass down, CRLF included
    length: int | None = None
    chunked: bool = False
    close: bool = False
    wrong: str = ""  # doubtful framing: 502 and close


_OURS_DOWN: Final = frozenset(
    b"x-request-id x-ratelimit-limit x-ratelimit-remaining x-ratelimit-reset ratelimit"
    b" ratelimit-policy tollway-quota-state".split()
)
_DROPPED_DOWN: Final = _HOP_BY_HOP | _OURS_DOWN


def scan_response(
    raw: list[tuple[bytes, bytes]], *, hidden: frozenset[bytes] = frozenset()
) -> ResponseHeaders:
    """Sort an upstream's lines; `hidden` are lower-case names that policy removes."""
    found = ResponseHeaders()
    lengths: list[bytes] = []
    codings: list[bytes] = []
    connection: list[bytes] = []
    framing = {
        b"content-length": lengths,
        b"transfer-encoding": codings,
        b"connection": connection,
    }
    for name, value in raw:
        lower = name.lower()
        if lower in framing:
            framing[lower].append(value)
        elif lower not in _DROPPED_DOWN and lower not in hidden:
            found.lines.append(b"%b: %b\r\n" % (name, value))
    if _FORBIDDEN_VALUE.search(b" ".join([name + value for name, value in raw])):
        found.wrong = "a header name or value holds a forbidden byte"
    _frame(found, lengths, codings)
    if connection:
        tokens = connection_tokens(connection)
        found.close = b"close" in tokens
        named = tokens - {b"keep-alive", b"close", b""}
        if named:
            found.lines = [ln for ln in found.lines if ln[: ln.index(b":")].lower() not in named]
    return found


def _frame(found: ResponseHeaders, lengths: list[bytes], codings: list[bytes]) -> None:
    if lengths and codings:
        found.wrong = "both Content-Length and Transfer-Encoding"
    elif codings:
        found.chunked = [value.strip().lower() for value in codings] == [b"chunked"]
        if not found.chunked:
            found.wrong = "a transfer coding other than chunked"
    elif lengths:
        if len(lengths) > 1 or not _LENGTH.match(lengths[0]):
            found.wrong = "a doubtful Content-Length"
        else:
            found.length = int(lengths[0])


def header_value(text: str) -> bytes:
    """Make a name from the snapshot safe as a header value (UTF-8, control characters spaced).

    >>> header_value("a\\r\\nX: b")
    b'a  X: b'
    """
    return "".join(c if c.isprintable() else " " for c in text).encode()
