"""Which request targets are let in: one spelling per resource, or a refusal.

The raw target decides, and is forwarded byte for byte (`gateway.md` §3). Refusing is chosen over
normalizing, because two programs normalizing differently is the commonest way around a route.
"""

import re
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

MAX_TARGET_CHARS: Final = 8_000

# A segment: no second slash, no dot segment; then printable ASCII without `% # ? / ; \`, or a
# whole escape that is none of `%2f %5c %2e %00`.
_SEGMENT: Final = (
    r"/(?![/])(?!\.\.?(?:[/?]|\Z))"
    r"(?:[!-\"$&-.0-:<->@-\[\]-~]|%(?!2[eEfF]|5[cC]|00)[0-9A-Fa-f]{2})*+"
)
_QUERY: Final = r"(?:[!-\"$&-~]|%[0-9A-Fa-f]{2})*+"
_TARGET: Final = re.compile(rf"((?:{_SEGMENT})++)(?:\?({_QUERY}))?\Z")


class Target(NamedTuple):
    """An accepted target; `query` is None without a question mark."""

    path: str
    query: str | None


def parse_target(raw: str) -> Target | None:
    """Split an accepted origin-form target; None refuses it (`target_refused`).

    >>> parse_target("/a/b?x=%2F")
    Target(path='/a/b', query='x=%2F')
    >>> [parse_target(bad) for bad in ("/a/../b", "/a%2Fb", "//a", "/a;v=1", "/a#b", "http://h/")]
    [None, None, None, None, None, None]
    """
    match = _TARGET.match(raw)
    return Target(match[1], match[2]) if match else None


def query_values(query: str | None, name: str) -> list[bytes]:
    """Return the values of a query parameter, percent-decoded once, in order.

    >>> query_values("a=1&apikey=x%41&apikey=", "apikey")
    [b'xA', b'']
    """
    if not query or name not in query:
        return []
    pairs = (pair.partition("=") for pair in query.split("&"))
    return [unquote_to_bytes(value) for key, _, value in pairs if key == name]


def without_parameter(query: str | None, name: str) -> str | None:
    """Drop a query parameter; the others keep their order and bytes.

    >>> without_parameter("b=2&apikey=x&a=%20", "apikey"), without_parameter("apikey=x", "apikey")
    ('b=2&a=%20', None)
    """
    if not query or name not in query:
        return query
    kept = [pair for pair in query.split("&") if pair.partition("=")[0] != name]
    return "&".join(kept) if kept else None
