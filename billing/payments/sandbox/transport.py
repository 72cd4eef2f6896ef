"""Lets the Stripe library talk to a double in the same process: no socket, the same handler."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import stripe

from billing.payments.sandbox.double import Double
from billing.payments.sandbox.faults import ConnectionLost


class DoubleTransport(stripe.HTTPClient):
    """An HTTP client of the library whose server is a function call away."""

    name = "double"

    def __init__(self, double: Double) -> None:
        super().__init__()
        self._double = double

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        post_data: Any = None,
        *,
        _usage: list[str] | None = None,
    ) -> tuple[str, int, Mapping[str, str]]:
        """Hand the request over; a lost connection is the library's own error, to be retried."""
        body = post_data if isinstance(post_data, str) else urlencode(post_data or {})
        try:
            made = self._double.handle(method.upper(), _target(url), dict(headers or {}), body)
        except ConnectionLost as error:
            msg = "The connection was lost."
            lost = stripe.APIConnectionError(msg, should_retry=True)  # type: ignore[no-untyped-call]
            raise lost from error
        return json.dumps(made.body), made.status, made.headers

    async def request_async(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        post_data: Any = None,
    ) -> tuple[bytes, int, Mapping[str, str]]:
        text, status, found = self.request(method, url, headers, post_data)
        return text.encode(), status, found

    async def sleep_async(self, secs: object) -> None:
        return None

    def close(self) -> None:
        return None

    async def close_async(self) -> None:
        return None


def _target(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
