"""Public ids: a prefix that names the kind, then a time-ordered random body.

Pure: time and random bytes are arguments.
"""

from typing import Final

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford base32, lower case
RANDOM_BYTES: Final = 10


def build_id(prefix: str, *, unix_ms: int, randomness: bytes) -> str:
    """Build `<prefix>_<26 characters>` (ULID layout: 48 bits of time, 80 of randomness).

    >>> build_id("org", unix_ms=1767225600000, randomness=bytes(10))
    'org_01kdvdha000000000000000000'
    """
    number = (unix_ms << 80) | int.from_bytes(randomness[:RANDOM_BYTES])
    digits = [_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5)]
    return f"{prefix}_{''.join(digits)}"
