"""The double itself: one request in, one answer out, the same in process and over HTTP.

The order is Stripe's: key and version, rate limit, parameters, idempotency, operation. An
operation and the answer kept under its key are one commit.
"""

import base64
import hmac
import json
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

import stripe

from billing.payments.sandbox import faults, idempotency
from billing.payments.sandbox.forms import decode
from billing.payments.sandbox.problems import Problem, invalid, unauthorized
from billing.payments.sandbox.routes import ROUTES, Route, answer, params_for, route_for
from billing.payments.sandbox.store import Store
from billing.payments.sandbox.world import World

API_VERSION: Final = stripe.api_version
ROUTE_NAMES: Final = frozenset(route.name for route in ROUTES)
LOG_LENGTH: Final = 5_000
BODY_MAX: Final = 2_097_152


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: Any
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """What was asked and answered; status 0 = the client got no answer."""

    verb: str
    path: str
    key: str
    status: int


@dataclass(frozen=True, slots=True)
class _Call:
    """One checked request on its way through."""

    route: Route
    names: Mapping[str, str]
    params: dict[str, Any]
    world: World
    key: str
    fault: faults.Fault | None


def _token(authorization: str) -> str:
    """Return the key in a Bearer header, or in a Basic one as the user's name."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() != "basic":
        return value if scheme.lower() == "bearer" else ""
    try:
        return base64.b64decode(value, validate=True).decode().partition(":")[0]
    except ValueError:
        return ""


def _sleep_ms(delay_ms: int) -> None:
    time.sleep(delay_ms / 1_000)  # money-ok: a wait, not an amount


@dataclass(slots=True)
class Double:
    """Answers API requests over a store.

    secret_key   the one key that is taken; empty = any test key
    sleep_ms     waits out a slow answer; the lock is not held meanwhile
    on_commit    called after each request that may have queued deliveries
    """

    store: Store
    secret_key: str = ""
    public_url: str = "http://127.0.0.1:9100"
    sleep_ms: Callable[[int], None] = _sleep_ms
    on_commit: Callable[[], None] = lambda: None
    log: deque[LoggedRequest] = field(default_factory=lambda: deque(maxlen=LOG_LENGTH))

    def __post_init__(self) -> None:
        with self.store.transaction():
            idempotency.release_all_running(self.store)

    def now(self) -> int:
        """Return wall time in seconds, or the time that a test has set."""
        override = self.store.setting("clock")
        return int(time.time()) if override is None else int(override)

    def world(self, *, request_id: str = "", key: str = "") -> World:
        return World(
            store=self.store,
            now=self.now(),
            api_version=API_VERSION,
            public_url=self.public_url,
            request_id=request_id,
            idempotency_key=key,
        )

    def handle(self, verb: str, url: str, headers: Mapping[str, str], body: str) -> Answer:
        """Answer one request.

        :raises ConnectionLost: where a fault says that no answer arrives.
        """
        head = {name.lower(): value for name, value in headers.items()}
        parts = urlsplit(url)
        key = head.get("idempotency-key", "") if verb == "POST" else ""
        status = 0
        try:
            made = self._answered(verb, parts.path, parts.query if verb != "POST" else body, head)
            status = made.status
        finally:
            self.log.append(LoggedRequest(verb, parts.path, key, status))
            self.on_commit()
        return made

    def _answered(self, verb: str, path: str, form: str, head: Mapping[str, str]) -> Answer:
        with self.store.transaction():
            request_id = self.store.new_id("req")
        try:
            return self._checked(verb, path, form, head, request_id)
        except Problem as problem:
            return self._reply(problem.status, problem.body(), request_id)

    def _checked(
        self, verb: str, path: str, form: str, head: Mapping[str, str], request_id: str
    ) -> Answer:
        self.authorize(head)
        if head.get("stripe-version", API_VERSION) != API_VERSION:
            msg = f"Invalid Stripe API version; this double speaks {API_VERSION}."
            raise invalid(msg)
        route, names = route_for(verb, path)
        with self.store.transaction():
            fault = faults.take(self.store, route.name)
        faults.refuse_early(fault)
        if len(form) > BODY_MAX:
            msg = "The request is too large."
            raise invalid(msg)
        params = params_for(route, decode(form))
        key = head.get("idempotency-key", "") if verb == "POST" else ""
        world = self.world(request_id=request_id, key=key)
        made = self._run(_Call(route, names, params, world, key, fault), path)
        if fault is not None and fault.kind == "answer_lost":
            raise faults.ConnectionLost
        return made

    def authorize(self, head: Mapping[str, str]) -> None:
        """Take the configured test key alone.

        :raises Problem: 401, also for every live key.
        """
        token = _token(head.get("authorization", ""))
        if not token:
            msg = "You did not provide an API key."
            raise unauthorized(msg)
        if not token.startswith(("sk_test_", "rk_test_")):
            msg = "This is a sandbox: it takes test keys alone."
            raise unauthorized(msg)
        if self.secret_key and not hmac.compare_digest(token.encode(), self.secret_key.encode()):
            msg = "Invalid API key provided."
            raise unauthorized(msg)

    def _run(self, call: _Call, path: str) -> Answer:
        """Take the key, wait where told to, run, and keep the answer under the key."""
        if call.key:
            print_ = idempotency.fingerprint(call.route.verb, path, call.params)
            with self.store.transaction():
                kept = idempotency.begin(
                    self.store,
                    key=call.key,
                    print_=print_,
                    request_id=call.world.request_id,
                    now=call.world.now,
                )
            if kept is not None:
                extra = {"Idempotent-Replayed": "true", "Original-Request": kept.request_id}
                return self._reply(kept.status, kept.body, call.world.request_id, **extra)
        if call.fault is not None and call.fault.kind == "slow":
            self.sleep_ms(call.fault.delay_ms)
        try:
            with self.store.transaction():
                status, body = self._operate(call)
                if call.key:
                    idempotency.keep(self.store, key=call.key, status=status, body=body)
        except BaseException:
            if call.key:
                with self.store.transaction():
                    idempotency.release(self.store, key=call.key)
            raise
        return self._reply(status, body, call.world.request_id)

    def _operate(self, call: _Call) -> tuple[int, Any]:
        """Run the operation; what a refused one wrote is undone, unless it says otherwise.

        :raises Problem: one of which nothing is kept.
        """
        if call.fault is not None and call.fault.kind == "error":
            return HTTPStatus.INTERNAL_SERVER_ERROR, faults.server_error().body()
        status: int = HTTPStatus.OK
        body: Any = None
        try:
            with self.store.savepoint():
                try:
                    body = answer(call.world, call.route, call.names, call.params)
                except Problem as problem:
                    if not problem.commits:
                        raise
                    status, body = problem.status, problem.body()
        except Problem as problem:
            if not problem.kept:
                raise
            status, body = problem.status, problem.body()
        if call.fault is not None and call.fault.kind == "error_after":
            return HTTPStatus.INTERNAL_SERVER_ERROR, faults.server_error().body()
        return status, body

    def _reply(self, status: int, body: Any, request_id: str, **extra: str) -> Answer:
        headers = {"Request-Id": request_id, "Stripe-Version": API_VERSION, **extra}
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            headers["Retry-After"] = "1"
        return Answer(status, json.loads(json.dumps(body)), headers)
