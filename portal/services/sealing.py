"""Encrypts test keys at rest, so that they can be shown again; live keys are never sealed.

The key is derived from `SECRET_KEY`: whoever changes that can no longer open what was sealed
before, and new test keys have to be made.
"""

import base64
from typing import Final

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

from portal.errors import SealBrokenError

_PURPOSE: Final = b"tollway test keys v1"


def _fernet() -> Fernet:
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=_PURPOSE)
    return Fernet(base64.urlsafe_b64encode(derived.derive(settings.SECRET_KEY.encode())))


def seal(secret: str) -> str:
    """Encrypt a secret (AES-128-CBC with HMAC-SHA256; the Fernet format)."""
    return _fernet().encrypt(secret.encode()).decode()


def unseal(sealed: str) -> str:
    """Decrypt what `seal` made.

    :raises SealBrokenError: when it was sealed under another key or changed since.
    """
    try:
        return _fernet().decrypt(sealed.encode()).decode()
    except InvalidToken as error:
        raise SealBrokenError from error
