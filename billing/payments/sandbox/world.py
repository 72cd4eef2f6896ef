"""What one operation of the double may touch: the store, the time, ids, and the event log."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from billing.payments.sandbox import delivery
from billing.payments.sandbox.problems import missing
from billing.payments.sandbox.render import rendered
from billing.payments.sandbox.store import Document, Store

TITLES: Final = {
    "charge": "charge",
    "checkout_session": "checkout session",
    "credit_note": "credit note",
    "customer": "customer",
    "dispute": "dispute",
    "event": "event",
    "invoice": "invoice",
    "invoice_payment": "invoice payment",
    "invoiceitem": "invoiceitem",
    "payment_intent": "payment_intent",
    "payment_method": "PaymentMethod",
    "refund": "refund",
    "setup_intent": "setupintent",
}


@dataclass(slots=True)
class World:
    """One request's view.

    now          wall time in whole seconds, or the test's own
    api_version  stamped on events
    public_url   where a browser finds the hosted pages
    """

    store: Store
    now: int
    api_version: str
    public_url: str
    request_id: str = ""
    idempotency_key: str = ""

    def find(self, kind: str, object_id: str, *, param: str = "id") -> Document:
        """Return a document; 404 for one that is not there or was deleted."""
        found = self.store.get(kind, object_id)
        if found is None or found.get("deleted"):
            raise missing(TITLES[kind], object_id, param=param)
        return found

    def emit(self, name: str, thing: Document, previous: Document | None = None) -> None:
        """Log an event with the object as it is now, and plan its deliveries."""
        data: dict[str, Any] = {"object": rendered(self.store, thing)}
        if previous is not None:
            data["previous_attributes"] = previous
        event: Document = {
            "id": self.store.new_id("evt"),
            "object": "event",
            "api_version": self.api_version,
            "context": None,
            "created": self.now,
            "data": data,
            "livemode": False,
            "pending_webhooks": 1 if delivery.settings_of(self.store).url else 0,
            "request": {
                "id": self.request_id or None,
                "idempotency_key": self.idempotency_key or None,
            },
            "type": name,
        }
        self.store.add("event", event)
        delivery.plan(self.store, event["id"])

    def emit_all(self, names: Sequence[str], thing: Document) -> None:
        for name in names:
            self.emit(name, thing)


def merged_metadata(held: dict[str, str], given: dict[str, str] | str | None) -> dict[str, str]:
    """Apply an update of metadata: an empty value unsets a key, an empty string all of them.

    >>> merged_metadata({"a": "1", "b": "2"}, {"a": "", "c": "3"})
    {'b': '2', 'c': '3'}
    """
    if given is None:
        return held
    if isinstance(given, str):
        return {}
    both = {**held, **given}
    return {key: value for key, value in both.items() if value != ""}
