"""`python -m deploy.container.health URL`: a container's health check; the image has no curl.

Asks as the TLS proxy in front would: with the portal's public host name, which `ALLOWED_HOSTS`
knows, and as https, which is not redirected.
"""

import http.client
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

TIMEOUT_S: Final = 5


def headers(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that the proxy would add.

    >>> headers({"TOLLWAY_PORTAL_URL": "https://portal.example"})
    {'Host': 'portal.example', 'X-Forwarded-Proto': 'https'}
    """
    portal = urlsplit(environ.get("TOLLWAY_PORTAL_URL", ""))
    return {"Host": portal.netloc, "X-Forwarded-Proto": portal.scheme} if portal.netloc else {}


def is_healthy(url: str, *, environ: Mapping[str, str]) -> bool:
    """Say whether a GET of a plain http URL answers 200."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=TIMEOUT_S)
    try:
        connection.request("GET", parts.path, headers=headers(environ))
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def main(arguments: Sequence[str]) -> int:
    """Exit with 0 when the URL is healthy, with 1 when it is not."""
    return 0 if is_healthy(arguments[0], environ=os.environ) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
