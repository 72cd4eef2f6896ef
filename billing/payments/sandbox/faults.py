"""Faults on demand: per route and count, taken in the order they were ordered."""

from dataclasses import asdict, dataclass
from typing import Final

from billing.payments.sandbox.problems import Problem, invalid
from billing.payments.sandbox.store import Store

KINDS: Final = {
    "rate_limited": "429 before anything else; nothing happens",
    "conflict": "409; nothing happens, nothing is kept",
    "error": "500; nothing happens, the answer is kept under the key",
    "error_after": "it happens, then a 500 that is kept under the key",
    "request_lost": "the connection ends before anything happens",
    "answer_lost": "it happens, the answer never arrives",
    "slow": "answers after `delay_ms`, its key taken meanwhile",
}
DELAY_MAX_MS: Final = 60_000
COUNT_MAX: Final = 10_000


class ConnectionLost(Exception):
    """The client gets no answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """`route` is `VERB /v1/path/{name}` as in the table of routes, or `*` for each."""

    route: str
    kind: str
    count: int = 1
    delay_ms: int = 0


def order(store: Store, fault: Fault, *, known: frozenset[str]) -> None:
    """Add a fault to those waiting.

    :raises Problem: 400 for an unknown route or kind, or a figure out of bounds.
    """
    if fault.kind not in KINDS or (fault.route != "*" and fault.route not in known):
        msg = f"Unknown fault or route: {fault.kind} on {fault.route}"
        raise invalid(msg)
    if not (1 <= fault.count <= COUNT_MAX and 0 <= fault.delay_ms <= DELAY_MAX_MS):
        msg = "count or delay_ms is out of bounds"
        raise invalid(msg)
    store.setting_put("faults", [*(store.setting("faults") or []), asdict(fault)])


def take(store: Store, route: str) -> Fault | None:
    """Use up one count of the first fault waiting for this route."""
    waiting = store.setting("faults") or []
    for index, held in enumerate(waiting):
        if held["route"] in ("*", route):
            held["count"] -= 1
            left = [f for f in waiting if f["count"] > 0]
            store.setting_put("faults", left)
            return Fault(**{**waiting[index], "count": 1})
    return None


def waiting(store: Store) -> list[Fault]:
    return [Fault(**held) for held in store.setting("faults") or []]


def clear(store: Store) -> None:
    store.setting_put("faults", [])


def refuse_early(fault: Fault | None) -> None:
    """Raise what comes before the idempotency layer."""
    if fault is None:
        return
    if fault.kind == "request_lost":
        raise ConnectionLost
    if fault.kind == "rate_limited":
        msg = "Too many requests hit the API too quickly."
        raise Problem(msg, status=429, code="rate_limit", kept=False)
    if fault.kind == "conflict":
        msg = "The object is being changed by another request."
        raise Problem(
            msg, status=409, kind="idempotency_error", code="idempotency_key_in_use", kept=False
        )


def server_error() -> Problem:
    return Problem("An error occurred on our side.", status=500, kind="api_error")
