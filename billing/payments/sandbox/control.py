"""`/_double/…`: what a test or a demo may order from the double; JSON, under the same secret key.

GET    /_double/state                counts, waiting faults, clock, webhook settings
GET    /_double/requests             the newest requests: verb, path, key, status
POST   /_double/faults               {"route", "kind", "count", "delay_ms"}
DELETE /_double/faults
POST   /_double/clock                {"now": seconds | null}
POST   /_double/keys/forget          {}
POST   /_double/webhooks             {"url", "secret", "duplicates", "delay_ms", "lose",
                                     "shuffle"}
POST   /_double/events/{id}/replay   {}
POST   /_double/cards                {"outcomes": [...]} for the next charges, or
                                     {"payment_method", "outcome"} for one card from now on
POST   /_double/checkout/{id}        {"number"}: what a browser does on the card page
POST   /_double/disputes             {"charge", "reason", "amount"}: the cardholder objects
POST   /_double/disputes/{id}        {"status"}: the bank decides
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any, Final

from billing.payments.sandbox import cards, checkout, delivery, disputes, faults, idempotency
from billing.payments.sandbox.double import ROUTE_NAMES, Double
from billing.payments.sandbox.problems import Problem, invalid

Body = Mapping[str, Any]


def handle(double: Double, verb: str, path: str, headers: Mapping[str, str], body: Any) -> Any:
    """Carry one order out and return what is to be sent as JSON.

    :raises Problem: 401 without the key, 404 for no such order, 400 for one that is malformed.
    """
    double.authorize({name.lower(): value for name, value in headers.items()})
    parts = path.removeprefix("/_double/").split("/")
    order = _ORDERS.get((verb, parts[0], len(parts)))
    if order is None or not isinstance(body, dict):
        msg = f"There is no such order ({verb} {path[:120]})."
        raise Problem(msg, status=404)
    with double.store.transaction():
        try:
            made = order(double, parts, body)
        except (KeyError, TypeError, ValueError) as error:
            msg = f"Malformed order: {error}"
            raise invalid(msg) from error
    double.on_commit()
    return made


def _state(double: Double, parts: list[str], body: Body) -> Any:
    return {
        "objects": double.store.counts(),
        "faults": [asdict(fault) for fault in faults.waiting(double.store)],
        "now": double.now(),
        "webhooks": {**asdict(delivery.settings_of(double.store)), "secret": ""},
    }


def _requests(double: Double, parts: list[str], body: Body) -> Any:
    return {"requests": [asdict(request) for request in double.log]}


def _faults_add(double: Double, parts: list[str], body: Body) -> Any:
    faults.order(double.store, faults.Fault(**body), known=ROUTE_NAMES)
    return {}


def _faults_clear(double: Double, parts: list[str], body: Body) -> Any:
    faults.clear(double.store)
    return {}


def _clock(double: Double, parts: list[str], body: Body) -> Any:
    now = body["now"]
    double.store.setting_put("clock", None if now is None else int(now))
    return {"now": double.now()}


def _keys_forget(double: Double, parts: list[str], body: Body) -> Any:
    idempotency.forget_all(double.store)
    return {}


def _webhooks(double: Double, parts: list[str], body: Body) -> Any:
    held = replace(delivery.settings_of(double.store), **body)
    delivery.settings_save(double.store, held)
    return {}


def _replay(double: Double, parts: list[str], body: Body) -> Any:
    event = double.world().find("event", parts[1])
    delivery.replay(double.store, event["id"])
    return {}


def _cards(double: Double, parts: list[str], body: Body) -> Any:
    wanted = body.get("outcomes", [body.get("outcome", cards.SUCCEEDS)])
    if not cards.OUTCOMES.issuperset(wanted):
        msg = f"Outcomes are {', '.join(sorted(cards.OUTCOMES))}."
        raise invalid(msg)
    if "outcomes" in body:
        double.store.setting_put("outcomes", list(wanted))
        return {}
    method = double.world().find("payment_method", body["payment_method"])
    double.store.save({**method, "_outcome": wanted[0]})
    return {}


def _checkout(double: Double, parts: list[str], body: Body) -> Any:
    card = cards.card_of(str(body["number"]))
    if card is None:
        msg = "Not a test card."
        raise invalid(msg)
    done = checkout.complete(double.world(), parts[1], card=card, exp_month=12, exp_year=2034)
    return {"return_url": checkout.return_url(done)}


def _dispute_open(double: Double, parts: list[str], body: Body) -> Any:
    made = disputes.open_(
        double.world(),
        charge=str(body["charge"]),
        reason=str(body.get("reason", "general")),
        amount=body.get("amount"),
    )
    return {"id": made["id"]}


def _dispute_decide(double: Double, parts: list[str], body: Body) -> Any:
    made = disputes.decide(double.world(), parts[1], status=str(body["status"]))
    return {"status": made["status"]}


_ORDERS: Final[Mapping[tuple[str, str, int], Callable[[Double, list[str], Body], Any]]] = {
    ("GET", "state", 1): _state,
    ("GET", "requests", 1): _requests,
    ("POST", "faults", 1): _faults_add,
    ("DELETE", "faults", 1): _faults_clear,
    ("POST", "clock", 1): _clock,
    ("POST", "keys", 2): _keys_forget,
    ("POST", "webhooks", 1): _webhooks,
    ("POST", "events", 3): _replay,
    ("POST", "cards", 1): _cards,
    ("POST", "checkout", 2): _checkout,
    ("POST", "disputes", 1): _dispute_open,
    ("POST", "disputes", 2): _dispute_decide,
}
