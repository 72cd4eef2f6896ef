"""The private listener: `/metrics`, `/livez`, `/readyz`, for operators and probes only.

A listener of its own (8081 + worker index); no path of the data plane reaches it (§20).
"""

import asyncio
import errno
import time
from collections.abc import Callable
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from gateway.metrics import Stats

_PORT_AGAIN_S: Final = 0.1


class PrivatePort:
    """Serves until closed. `unready` returns why the worker takes no requests; empty = it does."""

    def __init__(self, stats: Stats, *, unready: Callable[[], str]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(stats)
        self._unready = unready
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        self._runner = web.AppRunner(app, access_log=None)
        self.port = 0

    async def open(self, host: str, port: int, *, within_s: float) -> None:
        """Listen; a worker of the last start may hold the port until it has stopped in order.

        :raises OSError: when the port is still taken after `within_s`.
        """
        await self._runner.setup()
        deadline_s = time.monotonic() + within_s
        while True:
            try:
                await web.TCPSite(self._runner, host, port).start()
                break
            except OSError as error:
                if error.errno != errno.EADDRINUSE or time.monotonic() > deadline_s:
                    raise
                await asyncio.sleep(_PORT_AGAIN_S)
        self.port = self._runner.addresses[0][1]

    async def close(self) -> None:
        await self._runner.cleanup()

    async def _metrics(self, _: web.Request) -> web.Response:
        body = generate_latest(self._registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _livez(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def _readyz(self, _: web.Request) -> web.Response:
        if why := self._unready():
            return web.json_response({"status": "unready", "reason": why}, status=503)
        return web.json_response({"status": "ready"})
