"""Is there anybody at an upstream's address? One connection per target, on request only."""

import socket
from typing import Final
from urllib.parse import urlsplit

from portal.models import Upstream

TIMEOUT_S: Final = 2
_PORTS: Final = {"http": 80, "https": 443}


def upstream_check(upstream: Upstream) -> dict[str, str]:
    """Connect to each target; return why it did not work, empty where it did."""
    return {target: _connect(target) for target in upstream.targets}


def _connect(target: str) -> str:
    parts = urlsplit(target)
    address = (parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 80))
    try:
        with socket.create_connection(address, timeout=TIMEOUT_S):
            return ""
    except OSError as error:
        return error.strerror or str(error)
