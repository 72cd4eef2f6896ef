"""Encrypts what must be shown again: test keys, and for a day answers that carry a secret.

The key is derived from `SECRET_KEY`: whoever changes that can no longer open what was sealed
before, and new test keys have to be made. What only its owner may have opened is sealed with a
word of the owner's as well, which is not stored: the installation alone cannot open it.
"""

import base64
from typing import Final

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

from portal.errors import SealBrokenError

_TEST_KEYS: Final = b"tollway test keys v1"
_OWNED: Final = b"tollway owned v1"


def _fernet(word: str) -> Fernet:
    salt, purpose = (word.encode(), _OWNED) if word else (None, _TEST_KEYS)
    derived = HKDF(algorithm=SHA256(), length=32, salt=salt, info=purpose)
    return Fernet(base64.urlsafe_b64encode(derived.derive(settings.SECRET_KEY.encode())))


def seal(secret: str, *, word: str = "") -> str:
    """Encrypt a secret (AES-128-CBC with HMAC-SHA256; the Fernet format).

    word   what its owner must bring to have it opened; empty = the installation opens it
    """
    return _fernet(word).encrypt(secret.encode()).decode()


def unseal(sealed: str, *, word: str = "") -> str:
    """Decrypt what `seal` made with the same word.

    :raises SealBrokenError: when it was sealed under another key or changed since.
    """
    try:
        return _fernet(word).decrypt(sealed.encode()).decode()
    except InvalidToken as error:
        raise SealBrokenError from error
