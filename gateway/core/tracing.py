"""Request ids and W3C trace context, simple form (`gateway.md` §16); random bytes are given."""

import re
from typing import Final, NamedTuple

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._\-]{0,127}\Z")
_TRACEPARENT: Final = re.compile(
    rb"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<parent>[0-9a-f]{16})"
    rb"-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?\Z"
)
_ZERO_TRACE: Final = b"0" * 32
_ZERO_PARENT: Final = b"0" * 16
_MAX_STATE_BYTES: Final = 512
TRACE_BYTES: Final = 24


class Trace(NamedTuple):
    """lines   `traceparent` (and a valid `tracestate`) to send upward, CRLF included"""

    trace_id: str
    lines: bytes


def uuid7(*, unix_ms: int, randomness: int) -> str:
    """Build a UUIDv7 (RFC 9562) from a time and 74 random bits.

    >>> uuid7(unix_ms=1767225600000, randomness=0)
    '019b76da-a800-7000-8000-000000000000'
    """
    high, low = (randomness >> 62) & 0xFFF, randomness & ((1 << 62) - 1)
    number = (unix_ms & ((1 << 48) - 1)) << 80 | 7 << 76 | high << 64 | 2 << 62 | low
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def client_request_id(values: list[bytes]) -> str:
    """Return a client's own request id if there is exactly one and it is safe, else nothing."""
    if len(values) == 1 and _REQUEST_ID.match(values[0]):
        return values[0].decode("ascii")
    return ""


def trace_of(traceparents: list[bytes], tracestates: list[bytes], *, randomness: bytes) -> Trace:
    """Continue a valid trace with a new parent id, else start one (sampled).

    >>> parent = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    >>> trace_of([parent], [], randomness=bytes([1]) * 24).lines
    b'traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-0101010101010101-01\\r\\n'
    """
    parent = randomness[16:24].hex()
    match = _TRACEPARENT.match(traceparents[0].strip()) if len(traceparents) == 1 else None
    if match is None or not _is_valid(match):
        trace = randomness[:16].hex()
        return Trace(trace, f"traceparent: 00-{trace}-{parent}-01\r\n".encode())
    trace, flags = match["trace"].decode(), int(match["flags"], 16) & 1
    lines = f"traceparent: 00-{trace}-{parent}-{flags:02x}\r\n".encode()
    state = b",".join(value.strip() for value in tracestates)
    if state and len(state) <= _MAX_STATE_BYTES:
        lines += b"tracestate: %b\r\n" % state
    return Trace(trace, lines)


def _is_valid(match: re.Match[bytes]) -> bool:
    if match["version"] == b"ff" or (match["version"] == b"00" and match["more"]):
        return False
    return match["trace"] != _ZERO_TRACE and match["parent"] != _ZERO_PARENT
