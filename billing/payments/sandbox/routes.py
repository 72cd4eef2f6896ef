"""Every call that the double answers, and which of its parameters it honours.

A parameter that Stripe knows and the double does not honour is refused, never dropped in silence.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from billing.payments.sandbox import (
    checkout,
    collecting,
    corrections,
    customers,
    disputes,
    events,
    invoices,
    items,
)
from billing.payments.sandbox.problems import Problem, invalid
from billing.payments.sandbox.render import page, rendered, rendered_list
from billing.payments.sandbox.schema import check, operations, shape
from billing.payments.sandbox.store import Document
from billing.payments.sandbox.world import World

PAGING: Final = "limit starting_after ending_before"
LISTED: Final = f"{PAGING} created"


@dataclass(frozen=True, slots=True)
class Route:
    """`run(world, params, **names in the path)` gives a document, or rows for a list."""

    verb: str
    path: str
    run: Callable[..., Any]
    takes: frozenset[str]
    is_list: bool

    @property
    def name(self) -> str:
        return f"{self.verb} {self.path}"


def _one(verb: str, path: str, run: Callable[..., Document], takes: str = "") -> Route:
    return Route(verb, path, run, frozenset([*takes.split(), "expand"]), is_list=False)


def _many(path: str, run: Callable[..., Sequence[Document]], takes: str = "") -> Route:
    return Route("GET", path, run, frozenset([*takes.split(), "expand"]), is_list=True)


_CUSTOMER: Final = "name email description phone address metadata"
_ITEM: Final = "amount description discountable metadata period"
_INVOICE: Final = (
    "auto_advance collection_method days_until_due default_payment_method description metadata"
)

ROUTES: Final = (
    _one("POST", "/v1/customers", customers.create, _CUSTOMER),
    _many("/v1/customers", customers.listed, f"{LISTED} email"),
    _one("GET", "/v1/customers/{customer}", customers.retrieve),
    _one(
        "POST",
        "/v1/customers/{customer}",
        customers.update,
        f"{_CUSTOMER} invoice_settings",
    ),
    _one("DELETE", "/v1/customers/{customer}", customers.delete),
    _many("/v1/customers/{customer}/payment_methods", customers.method_listed, f"{PAGING} type"),
    _many("/v1/customers/{customer}/balance_transactions", customers.balance_listed, LISTED),
    _one(
        "POST",
        "/v1/customers/{customer}/balance_transactions",
        customers.balance_create,
        "amount currency",
    ),
    _many("/v1/payment_methods", customers.methods_listed, f"{PAGING} customer type"),
    _one("GET", "/v1/payment_methods/{payment_method}", customers.method_retrieve),
    _one(
        "POST",
        "/v1/payment_methods/{payment_method}/attach",
        customers.method_attach,
        "customer",
    ),
    _one("POST", "/v1/payment_methods/{payment_method}/detach", customers.method_detach),
    _one(
        "POST",
        "/v1/checkout/sessions",
        checkout.create,
        "allowed_payment_method_types cancel_url currency customer metadata mode success_url",
    ),
    _many("/v1/checkout/sessions", checkout.listed, f"{LISTED} customer"),
    _one("GET", "/v1/checkout/sessions/{session}", checkout.retrieve),
    _one("POST", "/v1/checkout/sessions/{session}/expire", checkout.expire),
    _many("/v1/setup_intents", checkout.setups_listed, f"{LISTED} customer"),
    _one("GET", "/v1/setup_intents/{intent}", checkout.setup_retrieve),
    _one(
        "POST",
        "/v1/invoices",
        invoices.create,
        f"{_INVOICE} currency customer pending_invoice_items_behavior",
    ),
    _many("/v1/invoices", invoices.listed, f"{LISTED} customer status collection_method"),
    _one("GET", "/v1/invoices/{invoice}", invoices.retrieve),
    _one("POST", "/v1/invoices/{invoice}", invoices.update, _INVOICE),
    _one("DELETE", "/v1/invoices/{invoice}", invoices.delete),
    _many("/v1/invoices/{invoice}/lines", invoices.lines_listed, PAGING),
    _one("POST", "/v1/invoices/{invoice}/add_lines", items.add_lines, "lines invoice_metadata"),
    _one("POST", "/v1/invoices/{invoice}/finalize", invoices.finalize, "auto_advance"),
    _one(
        "POST",
        "/v1/invoices/{invoice}/pay",
        collecting.pay,
        "off_session paid_out_of_band payment_method",
    ),
    _one("POST", "/v1/invoices/{invoice}/send", invoices.send),
    _one("POST", "/v1/invoices/{invoice}/void", invoices.void),
    _one("POST", "/v1/invoices/{invoice}/mark_uncollectible", invoices.mark_uncollectible),
    _one("POST", "/v1/invoiceitems", items.create, f"{_ITEM} customer currency invoice"),
    _many("/v1/invoiceitems", items.listed, f"{LISTED} customer invoice pending"),
    _one("GET", "/v1/invoiceitems/{invoiceitem}", items.retrieve),
    _one("POST", "/v1/invoiceitems/{invoiceitem}", items.update, _ITEM),
    _one("DELETE", "/v1/invoiceitems/{invoiceitem}", items.delete),
    _many("/v1/invoice_payments", collecting.payments_listed, f"{PAGING} invoice payment status"),
    _one("GET", "/v1/invoice_payments/{invoice_payment}", collecting.payment_retrieve),
    _many("/v1/payment_intents", collecting.intents_listed, f"{LISTED} customer"),
    _one("GET", "/v1/payment_intents/{intent}", collecting.intent_retrieve),
    _many("/v1/charges", collecting.charges_listed, f"{LISTED} customer payment_intent"),
    _one("GET", "/v1/charges/{charge}", collecting.charge_retrieve),
    _one(
        "POST",
        "/v1/credit_notes",
        corrections.note_create,
        "amount credit_amount invoice memo metadata out_of_band_amount reason refund_amount",
    ),
    _many("/v1/credit_notes", corrections.notes_listed, f"{LISTED} customer invoice"),
    _one("GET", "/v1/credit_notes/{id}", corrections.note_retrieve),
    _one("POST", "/v1/credit_notes/{id}/void", corrections.note_void),
    _one(
        "POST",
        "/v1/refunds",
        corrections.refund_create,
        "amount charge metadata payment_intent reason",
    ),
    _many("/v1/refunds", corrections.refunds_listed, f"{LISTED} charge payment_intent"),
    _one("GET", "/v1/refunds/{refund}", corrections.refund_retrieve),
    _many("/v1/disputes", disputes.listed, f"{LISTED} charge payment_intent"),
    _one("GET", "/v1/disputes/{dispute}", disputes.retrieve),
    _many("/v1/events", events.listed, f"{LISTED} type types"),
    _one("GET", "/v1/events/{id}", events.retrieve),
)
_PATTERNS: Final = tuple(
    (route, re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[A-Za-z0-9_]{1,120})", route.path)))
    for route in ROUTES
)


def route_for(verb: str, path: str) -> tuple[Route, dict[str, str]]:
    """Return the route and the names in the path.

    :raises Problem: 404 as Stripe answers an unknown URL.
    """
    for route, pattern in _PATTERNS:
        found = pattern.fullmatch(path)
        if route.verb == verb and found:
            return route, found.groupdict()
    msg = f"Unrecognized request URL ({verb}: {path[:120]})."
    raise Problem(msg, status=404, kept=False)


def params_for(route: Route, form: Mapping[str, Any]) -> dict[str, Any]:
    """Check a request's parameters against the library, then against what the double honours."""
    params = check(operation=operations()[route.verb, shape(route.path)], form=dict(form))
    for name in params:
        if name not in route.takes:
            msg = f"Stripe knows {name} here; this double does not honour it."
            raise invalid(msg, param=name, code="double_unsupported")
    return params


def answer(world: World, route: Route, names: Mapping[str, str], params: dict[str, Any]) -> Any:
    """Run the operation and render what it gives."""
    given = {name: value for name, value in params.items() if name != "expand"}
    expand = params.get("expand", [])
    if not route.is_list:
        return rendered(world.store, route.run(world, given, **names), expand)
    paging = {name: given.pop(name) for name in PAGING.split() if name in given}
    bounds = given.pop("created", None)
    rows = [row for row in route.run(world, given, **names) if _is_within(row, bounds)]
    url = route.path.format(**names)
    return rendered_list(world.store, page(rows, url=url, **paging), expand)


def _is_within(row: Document, bounds: int | dict[str, int] | None) -> bool:
    if bounds is None:
        return True
    created = int(row["created"] if "created" in row else row["date"])
    if isinstance(bounds, int):
        return created == bounds
    return (
        created >= bounds.get("gte", created)
        and created <= bounds.get("lte", created)
        and created > bounds.get("gt", created - 1)
        and created < bounds.get("lt", created + 1)
    )
