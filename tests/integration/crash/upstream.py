"""The upstream of the crash test: answers in every way, and remembers which requests it saw.

`python -m tests.integration.crash.upstream PORT`; it is never killed.
"""

import asyncio
import sys
from collections import Counter
from contextlib import suppress

from aiohttp import web

PIECES = 6
PIECE = b"x" * 200
PIECE_EVERY_S = 0.05


def build_app() -> web.Application:
    seen: Counter[str] = Counter()

    def note(request: web.Request) -> None:
        seen[request.headers["X-Request-Id"]] += 1

    async def answer(request: web.Request) -> web.Response:
        note(request)
        status = int(request.match_info["status"])
        return web.json_response({"status": status}, status=status)

    async def echo(request: web.Request) -> web.Response:
        note(request)
        return web.Response(body=await request.read())

    async def slow(request: web.Request) -> web.StreamResponse:
        note(request)
        response = web.StreamResponse()
        await response.prepare(request)
        with suppress(ConnectionError):  # a killed gateway hangs up
            for _ in range(PIECES):
                await response.write(PIECE)
                await asyncio.sleep(PIECE_EVERY_S)
            await response.write_eof()
        return response

    async def report(_: web.Request) -> web.Response:
        return web.json_response(seen)

    app = web.Application()
    app.add_routes(
        [
            web.get(r"/v1/status/{status:\d{3}}", answer),
            web.post("/v1/echo", echo),
            web.get("/v1/slow", slow),
            web.get("/seen", report),
        ]
    )
    return app


if __name__ == "__main__":
    web.run_app(
        build_app(), host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None,
        keepalive_timeout=600,
    )  # fmt: skip
