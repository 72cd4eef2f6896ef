"""A tiny portal: answers the snapshot poll with what the test sets, and remembers the polls."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from gateway.contracts.snapshot import KINDS, SNAPSHOT_PATH, Snapshot, build_document

TOKEN = "secret-token"


def document_of(snapshot: Snapshot) -> dict[str, Any]:
    """Write a snapshot back as the full document that the portal sends."""
    return build_document(
        version=snapshot.version,
        clock_offset_us=snapshot.clock_offset_us,
        sandbox=snapshot.sandbox,
        objects={kind: list(getattr(snapshot, kind).values()) for kind in KINDS},
    )


class TinyPortal:
    def __init__(self) -> None:
        self.document: dict[str, Any] | None = None
        self.polls: list[dict[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.changed = asyncio.Event()
        self.polled = asyncio.Event()
        self.url = ""

    def publish(self, document: dict[str, Any]) -> None:
        self.document = document
        self.changed.set()

    def build_app(self) -> web.Application:
        app = web.Application()
        app.router.add_get(SNAPSHOT_PATH, self.handle)
        return app

    async def handle(self, request: web.Request) -> web.Response:
        self.polls.append(dict(request.query))
        self.headers.append(dict(request.headers))
        self.polled.set()
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.Response(status=401)
        known = {int(request.query["after"]), int(request.query.get("refused", 0))}
        while self.document is None or self.document["version"] in known:
            self.changed.clear()
            try:
                async with asyncio.timeout(0.5):
                    await self.changed.wait()
            except TimeoutError:
                return web.Response(status=204)
        return web.json_response(self.document)


@asynccontextmanager
async def tiny_portal() -> AsyncIterator[TinyPortal]:
    portal = TinyPortal()
    runner = web.AppRunner(portal.build_app(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    portal.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield portal
    finally:
        await runner.cleanup()
