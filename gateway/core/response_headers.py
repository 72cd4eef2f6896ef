"""Header hygiene, downward: what of an upstream's answer is passed on, and how it is framed."""

from dataclasses import dataclass
from enum import IntEnum, auto
from typing import Final

from gateway.core.headers import (
    HOP_BY_HOP,
    LENGTH,
    MAX_REMEMBERED,
    connection_tokens,
    has_forbidden_byte,
    without_named,
)


class ResponseRole(IntEnum):
    KEEP = auto()
    DROP = auto()
    LENGTH = auto()
    CODING = auto()
    CONNECTION = auto()


_KEEP: Final = ResponseRole.KEEP
_DROP: Final = ResponseRole.DROP
_LENGTH: Final = ResponseRole.LENGTH
_CODING: Final = ResponseRole.CODING
_CONNECTION: Final = ResponseRole.CONNECTION
_FRAMING: Final = {
    b"content-length": _LENGTH,
    b"transfer-encoding": _CODING,
    b"connection": _CONNECTION,
}
_OURS: Final = frozenset(
    b"x-request-id x-ratelimit-limit x-ratelimit-remaining x-ratelimit-reset ratelimit"
    b" ratelimit-policy tollway-quota-state".split()
)


class ResponseRoles:
    """Classifies response header names; `hidden` are lower-case names that policy removes."""

    def __init__(self, hidden: frozenset[bytes] = frozenset()) -> None:
        self._hidden = hidden
        self.known: Final[dict[bytes, ResponseRole]] = {}

    def classify(self, name: bytes) -> ResponseRole:
        """Return the role of a name, and remember it: look into `known` first."""
        role = self._role_of(name.lower())
        if len(self.known) < MAX_REMEMBERED:
            self.known[name] = role
        return role

    def _role_of(self, name: bytes) -> ResponseRole:
        if name in _FRAMING:
            return _FRAMING[name]
        dropped = name in HOP_BY_HOP or name in _OURS or name in self._hidden
        return _DROP if dropped else _KEEP


@dataclass(slots=True)
class ResponseHeaders:
    """What an upstream's header lines said."""

    lines: list[bytes]  # to pass down, CRLF included
    length: int | None = None
    chunked: bool = False
    close: bool = False
    wrong: str = ""  # doubtful framing: 502 and close


def scan_response(raw: list[tuple[bytes, bytes]], roles: ResponseRoles) -> ResponseHeaders:
    """Sort an upstream's lines by role in one walk, and read its framing."""
    lines: list[bytes] = []
    framing: dict[ResponseRole, list[bytes]] = {}
    known = roles.known
    for name, value in raw:
        role = known.get(name) or roles.classify(name)
        if role is _KEEP:
            lines.append(b"%b: %b\r\n" % (name, value))
        elif role is not _DROP:
            framing.setdefault(role, []).append(value)
    found = ResponseHeaders(lines)
    if has_forbidden_byte([part for line in raw for part in line]):
        found.wrong = "a header name or value holds a forbidden byte"
    _frame(found, framing.get(_LENGTH, []), framing.get(_CODING, []))
    connection = framing.get(_CONNECTION)
    if connection and connection != [b"keep-alive"]:
        found.close = b"close" in connection_tokens(connection)
        found.lines = without_named(lines, connection)
    return found


def _frame(found: ResponseHeaders, lengths: list[bytes], codings: list[bytes]) -> None:
    if lengths and codings:
        found.wrong = "both Content-Length and Transfer-Encoding"
    elif codings:
        found.chunked = [value.strip().lower() for value in codings] == [b"chunked"]
        if not found.chunked:
            found.wrong = "a transfer coding other than chunked"
    elif lengths:
        if len(lengths) > 1 or not LENGTH.match(lengths[0]):
            found.wrong = "a doubtful Content-Length"
        else:
            found.length = int(lengths[0])
