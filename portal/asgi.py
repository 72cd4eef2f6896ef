"""The ASGI entry point: the gateways' long-poll beside Django, which serves everything else."""

import os
from typing import Any

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings.local")
_django: Any = get_asgi_application()

from django.conf import settings  # noqa: E402 - models load only after the line above

from gateway.contracts.snapshot import SNAPSHOT_PATH  # noqa: E402
from portal.views.internal import SnapshotDoor  # noqa: E402

settings.ENV.check_serving()
_snapshots = SnapshotDoor(token=settings.ENV.gateway_token)


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http" and scope["path"] == SNAPSHOT_PATH:
        await _snapshots(scope, receive, send)
    else:
        await _django(scope, receive, send)
