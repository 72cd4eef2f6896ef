"""Credential parsing (`gateway.md` §6): which carrier holds the API key, and is it well formed.

Pure text work; whether the key exists is `compile`'s table, whether it may be used is `decision`.
"""

from dataclasses import dataclass
from typing import Final

from gateway.contracts.api_keys import KINDS, MAX_KEY_CHARS, PREFIX, ParsedKey, parse_key
from gateway.core.headers import RequestHeaders, Role
from gateway.core.target import query_values

KEY_HEADERS: Final = ("X-API-Key", "apikey")
KEY_PARAMETER: Final = "apikey"
_OUR_HEADS: Final = tuple(f"{PREFIX}{kind}_".encode() for kind in KINDS)


@dataclass(frozen=True, slots=True)
class FoundKey:
    text: str
    parsed: ParsedKey


@dataclass(frozen=True, slots=True)
class NoKey:
    """Why there is no usable key: a public `code`, and the auth log's `reason`."""

    code: str  # credential_missing, credential_ambiguous, credential_invalid
    reason: str
    shown: str = ""


_MISSING: Final = NoKey("credential_missing", "missing")
_AMBIGUOUS: Final = NoKey("credential_ambiguous", "carrier repeated")
_MALFORMED: Final = NoKey("credential_invalid", "malformed")


def bearer_value(value: bytes) -> bytes | None:
    """Return what follows the scheme `Bearer` (any case, one or more spaces), else None.

    >>> bearer_value(b"bearer   abc "), bearer_value(b"Basic abc")
    (b'abc', None)
    """
    scheme, _, rest = value.strip().partition(b" ")
    return rest.strip() if scheme.lower() == b"bearer" else None


def carries_our_key(authorization: bytes) -> bool:
    """Say whether an `Authorization` value holds one of our keys, however it is written."""
    value = bearer_value(authorization)
    return (authorization.strip() if value is None else value).startswith(_OUR_HEADS)


def find_key(
    headers: RequestHeaders, query: str | None, *, names: tuple[bytes, ...], in_query: bool
) -> FoundKey | NoKey:
    """Find the one key. The first carrier that is present decides; nothing falls through."""
    authorizations = headers.values(Role.AUTHORIZATION)
    parameters = query_values(query, KEY_PARAMETER) if in_query else []
    carriers = [headers.keys.get(name, []) for name in names] if headers.keys else []
    if any(len(values) > 1 for values in (*carriers, authorizations, parameters)):
        return _AMBIGUOUS
    for values in carriers:
        if values and values[0].strip():
            return _parse(values[0].strip())
    if authorizations:
        value = bearer_value(authorizations[0])
        if value and value.startswith(PREFIX.encode()):
            return _parse(value)
    if parameters and parameters[0].strip():
        return _parse(parameters[0].strip())
    return _MISSING


def _parse(value: bytes) -> FoundKey | NoKey:
    if len(value) > MAX_KEY_CHARS or not value.isascii():
        return _MALFORMED
    text = value.decode("ascii")
    parsed = parse_key(text)
    if parsed is None:
        return _MALFORMED
    return FoundKey(text, parsed)
