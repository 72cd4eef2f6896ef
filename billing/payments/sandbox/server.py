"""The double over HTTP: the API, the hosted pages, the control orders, and webhook delivery."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import aiohttp
from aiohttp import web

from billing.payments.sandbox import control, delivery, pages
from billing.payments.sandbox.double import BODY_MAX, Double
from billing.payments.sandbox.faults import ConnectionLost
from billing.payments.sandbox.problems import Problem
from billing.payments.sandbox.world import World

DELIVERY_TIMEOUT_S: Final = 10
IDLE_S: Final = 60
DOUBLE: Final = web.AppKey("double", Double)
PageMaker = Callable[[World], pages.Page]


def build_app(double: Double) -> web.Application:
    """Return the application; it delivers webhooks for as long as it runs."""
    app = web.Application(client_max_size=BODY_MAX)
    app[DOUBLE] = double
    app.router.add_get("/healthz", _health)
    app.router.add_get("/page.css", _style)
    app.router.add_route("*", "/_double/{tail:.*}", _control)
    app.router.add_route("*", "/v1/{tail:.*}", _api)
    app.router.add_get("/c/{id}", _checkout_show)
    app.router.add_post("/c/{id}", _checkout_submit)
    app.router.add_get("/i/{id}", _invoice_show)
    app.router.add_post("/i/{id}", _invoice_submit)
    app.router.add_get("/i/{id}/pdf", _invoice_pdf)
    app.cleanup_ctx.append(_delivering)
    return app


async def _health(request: web.Request) -> web.Response:
    return web.Response(text="ok")


async def _style(request: web.Request) -> web.Response:
    return web.Response(text=pages.STYLE, content_type="text/css")


async def _api(request: web.Request) -> web.StreamResponse:
    double = request.app[DOUBLE]
    body = await request.text()
    try:
        made = await asyncio.to_thread(
            double.handle, request.method, request.path_qs, dict(request.headers), body
        )
    except ConnectionLost:
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=500)
    return web.json_response(made.body, status=made.status, headers=made.headers)


async def _control(request: web.Request) -> web.Response:
    double = request.app[DOUBLE]
    text = await request.text()
    try:
        body = json.loads(text) if text else {}
        made = await asyncio.to_thread(
            control.handle, double, request.method, request.path, dict(request.headers), body
        )
    except Problem as problem:
        return web.json_response(problem.body(), status=problem.status)
    except ValueError:
        return web.json_response({"error": {"message": "not JSON"}}, status=400)
    return web.json_response(made)


# pages


async def _page(request: web.Request, make: PageMaker) -> web.Response:
    """Make a page in one transaction; a declined card's attempt stays on record."""
    double = request.app[DOUBLE]

    def run() -> pages.Page:
        with double.store.transaction():
            return make(double.world())

    made = await asyncio.to_thread(run)
    double.on_commit()
    headers = made.headers()
    if made.location:
        headers["Location"] = made.location
    if made.pdf:
        return web.Response(body=made.pdf, content_type="application/pdf", headers=headers)
    return web.Response(
        text=made.html, status=made.status, content_type="text/html", headers=headers
    )


async def _form(request: web.Request) -> dict[str, str]:
    posted = await request.post()
    return {name: value for name, value in posted.items() if isinstance(value, str)}


def _id(request: web.Request) -> str:
    return request.match_info["id"]


async def _checkout_show(request: web.Request) -> web.Response:
    return await _page(request, lambda world: pages.checkout_show(world, _id(request)))


async def _checkout_submit(request: web.Request) -> web.Response:
    form = await _form(request)
    return await _page(request, lambda world: pages.checkout_submit(world, _id(request), form))


async def _invoice_show(request: web.Request) -> web.Response:
    return await _page(request, lambda world: pages.invoice_show(world, _id(request)))


async def _invoice_submit(request: web.Request) -> web.Response:
    form = await _form(request)
    return await _page(request, lambda world: pages.invoice_submit(world, _id(request), form))


async def _invoice_pdf(request: web.Request) -> web.Response:
    return await _page(request, lambda world: pages.invoice_pdf(world, _id(request)))


# webhooks


async def _delivering(app: web.Application) -> AsyncIterator[None]:
    """Run the delivery beside the server; commits wake it, so it never polls."""
    double, loop, wake = app[DOUBLE], asyncio.get_running_loop(), asyncio.Event()
    double.on_commit = lambda: _wake(loop, wake)
    timeout = aiohttp.ClientTimeout(total=DELIVERY_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        task = asyncio.create_task(_deliver(double, session, wake))
        yield
        double.on_commit = lambda: None
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _wake(loop: asyncio.AbstractEventLoop, wake: asyncio.Event) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: the process is ending
        loop.call_soon_threadsafe(wake.set)


async def _deliver(double: Double, session: aiohttp.ClientSession, wake: asyncio.Event) -> None:
    while True:
        wake.clear()
        batch = await asyncio.to_thread(delivery.due, double.store, delivery.wall_ms())
        for item in batch:
            taken = await _send(session, item)
            await asyncio.to_thread(_report, double, item.id, taken)
        if not batch:
            await _rest(double, wake)


def _report(double: Double, number: int, taken: bool) -> None:
    delivery.report(double.store, number, taken=taken, now_ms=delivery.wall_ms())


async def _send(session: aiohttp.ClientSession, item: delivery.Delivery) -> bool:
    headers = {"Content-Type": "application/json", "Stripe-Signature": item.header}
    try:
        async with session.post(
            item.url, data=item.body, headers=headers, allow_redirects=False
        ) as response:
            return 200 <= response.status < 300
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return False


async def _rest(double: Double, wake: asyncio.Event) -> None:
    """Sleep until a commit wakes us or the next delivery is due."""
    due_ms: Any = await asyncio.to_thread(delivery.next_due_ms, double.store)
    wait_s = IDLE_S if due_ms is None else -(-max(due_ms - delivery.wall_ms(), 1) // 1_000)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(wake.wait(), timeout=min(wait_s, IDLE_S))
