"""`EMAIL_URL` (smtp://user:password@host:port, or smtps://) translated to Django's names."""

from typing import Any
from urllib.parse import unquote, urlsplit

from gateway.contracts.environment import SettingsError


def email_settings(url: str) -> dict[str, Any]:
    """Translate the URL.

    >>> email_settings("smtp://u:p%40@mail.example:587")["EMAIL_HOST_PASSWORD"]
    'p@'

    :raises SettingsError: for another scheme or no host.
    """
    parts = urlsplit(url)
    try:
        port = parts.port or (465 if parts.scheme == "smtps" else 587)
    except ValueError:
        port = 0
    if parts.scheme not in {"smtp", "smtps"} or not parts.hostname or not port:
        msg = "EMAIL_URL must look like smtp://user:password@host:587 or smtps://…:465."
        raise SettingsError(msg)
    return {
        "EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend",
        "EMAIL_HOST": parts.hostname,
        "EMAIL_PORT": port,
        "EMAIL_HOST_USER": unquote(parts.username or ""),
        "EMAIL_HOST_PASSWORD": unquote(parts.password or ""),
        "EMAIL_USE_SSL": parts.scheme == "smtps",
        "EMAIL_USE_TLS": parts.scheme == "smtp" and bool(parts.username),
        "EMAIL_TIMEOUT": 10,
    }
