"""The API key format: built by the portal, checked offline by the gateway before any look-up.

A key is `tw_<kind>_`, a base62 body with at least 128 random bits, and six base62 characters of
CRC32 over everything before them, so that a typo is refused without a look-up. Stored is only the
SHA-256 of the whole key. Pure: the random bytes are an argument.
"""

import hashlib
import zlib
from dataclasses import dataclass
from typing import Final

PREFIX: Final = "tw_"
KINDS: Final = ("live", "test", "sbx")
"""`sbx` is the live environment of a sandbox (simulated clock)."""
MIN_RANDOM_BYTES: Final = 16
CHECKSUM_CHARS: Final = 6
MAX_KEY_CHARS: Final = 128

_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ALLOWED: Final = frozenset(_ALPHABET)
_HEADS: Final = {f"{PREFIX}{kind}_": kind for kind in KINDS}
_MIN_BODY_CHARS: Final = 22  # 62**22 > 2**128


@dataclass(frozen=True, slots=True)
class ParsedKey:
    """A key whose form and checksum are right; whether it exists is another question.

    shown   the start that may be displayed and logged: kind and four characters
    """

    kind: str
    shown: str

    @property
    def environment(self) -> str:
        """`test` for test keys, else `live` (a sandbox key is its live environment)."""
        return "test" if self.kind == "test" else "live"


def _base62(number: int, *, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))


def _body_chars(random_bytes: int) -> int:
    """Return how many base62 digits hold any value of that many bytes."""
    width, bound = 0, 1
    while bound < 1 << (8 * random_bytes):
        width, bound = width + 1, bound * 62
    return width


def _checksum(head: str) -> str:
    return _base62(zlib.crc32(head.encode()), width=CHECKSUM_CHARS)


def build_key(kind: str, randomness: bytes) -> str:
    """Build a key of `kind` from fresh random bytes (at least 16).

    >>> build_key("live", bytes(15) + bytes([61]))
    'tw_live_000000000000000000000z1QXLca'

    :raises ValueError: for an unknown kind or too little randomness.
    """
    if kind not in KINDS:
        msg = f"unknown kind of key: {kind!r}"
        raise ValueError(msg)
    if len(randomness) < MIN_RANDOM_BYTES:
        msg = f"a key needs {MIN_RANDOM_BYTES} random bytes, got {len(randomness)}"
        raise ValueError(msg)
    body = _base62(int.from_bytes(randomness), width=_body_chars(len(randomness)))
    head = f"{PREFIX}{kind}_{body}"
    return head + _checksum(head)


def parse_key(text: str) -> ParsedKey | None:
    """Check prefix, alphabet, length and checksum; None when any is wrong.

    >>> parse_key("tw_live_000000000000000000000z1QXLca").kind
    'live'
    >>> parse_key("tw_live_000000000000000000000y1QXLca") is None
    True
    """
    if len(text) > MAX_KEY_CHARS:
        return None
    prefix = text[: text.find("_", len(PREFIX)) + 1]
    kind = _HEADS.get(prefix)
    if kind is None:
        return None
    body = text[len(prefix) :]
    if len(body) < _MIN_BODY_CHARS + CHECKSUM_CHARS or not _ALLOWED.issuperset(body):
        return None
    if text[-CHECKSUM_CHARS:] != _checksum(text[:-CHECKSUM_CHARS]):
        return None
    return ParsedKey(kind, text[: len(prefix) + 4])


def key_hash(text: str) -> str:
    """Return what is stored and looked up: SHA-256 of the whole key, hex."""
    return hashlib.sha256(text.encode()).hexdigest()
