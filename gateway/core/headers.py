"""Header hygiene, upward: what is read, what is dropped, what is passed on (`gateway.md` §4).

`scan_request` walks the raw header lines once and sorts them into roles; the lines to forward are
kept as bytes. Names are classified once and remembered, because clients repeat themselves.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
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


_KEEP: Final = Role.KEEP
_DROP: Final = Role.DROP
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
HOP_BY_HOP: Final = frozenset(
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
MAX_REMEMBERED: Final = 4096
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_HOST: Final = re.compile(
    rb"([A-Za-z0-9](?:[A-Za-z0-9.\-]{0,252})|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?\Z"
)
LENGTH: Final = re.compile(rb"[0-9]{1,18}\Z")
_VALUE_BYTES: Final = bytes(n for n in range(256) if n == 9 or (n >= 32 and n != 127))


def has_forbidden_byte(values: Iterable[bytes]) -> bool:
    """Say whether a control character other than the tab is in one of the values.

    >>> has_forbidden_byte([b"a\\tb", b"\\xff"]), has_forbidden_byte([b"a\\nb"])
    (False, True)
    """
    return bool(b"".join(values).translate(None, _VALUE_BYTES))


class HeaderRoles:
    """Classifies request header names; `key_names` carry API keys, in this order."""

    def __init__(self, key_names: tuple[str, ...]) -> None:
        self.key_names: Final = tuple(name.lower().encode() for name in key_names)
        self.known: Final[dict[bytes, Role]] = {}

    def classify(self, name: bytes) -> Role:
        """Return the role of a name, and remember it: look into `known` first."""
        role = self._role_of(name.lower())
        if len(self.known) < MAX_REMEMBERED:
            self.known[name] = role
        return role

    def _role_of(self, name: bytes) -> Role:
        if not _NAME.match(name):
            return Role.INVALID
        if name in self.key_names:
            return Role.KEY
        if name in _ROLES:
            return _ROLES[name]
        aliased = b"_" in name or b"." in name  # they stand for a dash in many servers
        forged = name in _FORGED or name.startswith(_FORGED_FAMILIES)
        return Role.DROP if aliased or forged or name in HOP_BY_HOP else Role.KEEP


class HostNames:
    """Reads `Host` values, and remembers them, because clients repeat themselves."""

    def __init__(self) -> None:
        self._known: dict[bytes, str] = {}

    def __call__(self, value: bytes) -> str:
        """Return the name in lower case without its port; empty = not a valid value."""
        known = self._known.get(value)
        if known is None:
            known = host_name(value)
            if len(self._known) < MAX_REMEMBERED:
                self._known[value] = known
        return known


def host_name(value: bytes) -> str:
    """Read a `Host` value.

    >>> host_name(b"API.example:8080"), host_name(b"[::1]:80"), host_name(b"a/b")
    ('api.example', '[::1]', '')
    """
    match = _HOST.match(value)
    return match[1].decode("ascii").lower() if match else ""


@dataclass(slots=True)
class RequestHeaders:
    """What a request's header lines said. Lists keep every occurrence, so that twice is seen."""

    lines: list[bytes]  # to forward, CRLF included
    host: list[bytes]
    keys: dict[bytes, list[bytes]]  # lower-case name -> values
    others: dict[Role, list[bytes]]
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
    lines: list[bytes] = []
    found = RequestHeaders(lines, [], {}, {})
    known = roles.known
    for name, value in raw:
        role = known.get(name) or roles.classify(name)
        if role is _KEEP:
            lines.append(b"%b: %b\r\n" % (name, value))
        elif role is not _DROP:
            _take(found, role, name, value)
    if Role.CONNECTION in found.others:
        lines[:] = without_named(lines, found.values(Role.CONNECTION))
    return found


def _take(found: RequestHeaders, role: Role, name: bytes, value: bytes) -> None:
    if role is Role.HOST:
        found.host.append(value)
    elif role is Role.KEY:
        found.keys.setdefault(name.lower(), []).append(value)
    elif role is Role.AGENT:
        found.user_agent = value
        found.lines.append(b"%b: %b\r\n" % (name, value))
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


def without_named(lines: list[bytes], connection: list[bytes]) -> list[bytes]:
    """Drop the lines that `Connection` names; those of ours are set anew anyway."""
    named = connection_tokens(connection) - {b"keep-alive", b"close", b""}
    return [ln for ln in lines if ln[: ln.index(b":")].lower() not in named] if named else lines


def check_request_headers(raw: RawHeaders, found: RequestHeaders, *, http_1_0: bool) -> str:
    """Return why the header block is refused with 400, or an empty string; not `Host`'s syntax.

    The C parser refuses most of this already; the rules stand here again, because another parser
    may sit in front one day.
    """
    if found.malformed:
        return found.malformed
    if Role.LENGTH in found.others or Role.CODING in found.others:
        why = _check_framing(found, http_1_0=http_1_0)
        if why:
            return why
    if has_forbidden_byte([value for _, value in raw]):
        return "A header value holds a forbidden byte."
    return ""


def _check_framing(found: RequestHeaders, *, http_1_0: bool) -> str:
    lengths, codings = found.values(Role.LENGTH), found.values(Role.CODING)
    if lengths and codings:
        return "Content-Length and Transfer-Encoding exclude each other."
    if len(lengths) > 1 or (lengths and not LENGTH.match(lengths[0])):
        return "Content-Length must be one plain number."
    if codings and (http_1_0 or [value.lower() for value in codings] != [b"chunked"]):
        return "The only transfer coding accepted is chunked, in HTTP/1.1."
    return ""


def header_value(text: str) -> bytes:
    """Make a name from the snapshot safe as a header value (UTF-8, control characters spaced).

    >>> header_value("a\\r\\nX: b")
    b'a  X: b'
    """
    return "".join(c if c.isprintable() else " " for c in text).encode()
