"""Credential parsing (`gateway.md` §6): which carrier holds the API key, and is it well formed.

Pure text work; whether the key is well formed and exists, and may be used, is `decision`'s.
"""

from dataclasses import dataclass
from typing import Final

from gateway.contracts.api_keys import KINDS, MAX_KEY_CHARS, PREFIX
from gateway.core.headers import RequestHeaders, Role
from gateway.core.target import query_values

KEY_HEADERS: Final = ("X-API-Key", "apikey")
KEY_PARAMETER: Final = "apikey"
_OUR_HEADS: Final = tuple(f"{PREFIX}{kind}_".encode() for kind in KINDS)


@dataclass(frozen=True, slots=True)
class NoKey:
    """Why there is no usable key: a public `code`, and the auth log's `reason`."""

    code: str  # credential_missing, credential_ambiguous, credential_invalid
    reason: str


_MISSING: Final = NoKey("credential_missing", "missing")
_AMBIGUOUS: Final = NoKey("credential_ambiguous", "carrier repeated")
MALFORMED: Final = NoKey("credential_invalid", "malformed")


def bearer_value(value: bytes) -> bytes | None:
    """Return what follows the scheme `Bearer` (any case, one or more spaces), else None.

    >>> bearer_value(b"bearer   abc "), bearer_value(b"Basic abc")
    (b'abc', None)
    """
    scheme, _, rest = value.strip().partition(b" ")
    return rest.strip() if scheme.lower() == b"bearer" else None


def carries_our_key(text: bytes) -> bool:
    """Say whether one of our keys is in a header value or a query, however it is written."""
    return any(head in text for head in _OUR_HEADS)


def find_key(
    headers: RequestHeaders, query: str | None, *, names: tuple[bytes, ...], in_query: bool
) -> str | NoKey:
    """Find the text of the one key. The first carrier that is present decides; none falls through.

    ASCII, of 1 to `MAX_KEY_CHARS` characters.
    """
    authorizations = headers.values(Role.AUTHORIZATION)
    parameters = query_values(query, KEY_PARAMETER) if in_query else []
    carriers = [headers.keys[name] for name in names if name in headers.keys]
    for values in (*carriers, authorizations, parameters):
        if len(values) > 1:
            return _AMBIGUOUS
    for values in carriers:
        if value := values[0].strip():
            return _text(value)
    if authorizations:
        bearer = bearer_value(authorizations[0])
        if bearer and bearer.startswith(PREFIX.encode()):
            return _text(bearer)
    if parameters and (value := parameters[0].strip()):
        return _text(value)
    return _MISSING


def _text(value: bytes) -> str | NoKey:
    if len(value) > MAX_KEY_CHARS or not value.isascii():
        return MALFORMED
    return value.decode("ascii")
