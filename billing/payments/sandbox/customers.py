"""Customers, their balance and their payment methods."""

from typing import Any

from billing.payments.sandbox.cards import KnownCard
from billing.payments.sandbox.problems import refused
from billing.payments.sandbox.store import Document
from billing.payments.sandbox.world import World, merged_metadata

Params = dict[str, Any]
SIMPLE = ("name", "email", "description", "phone")


def create(world: World, params: Params) -> Document:
    made: Document = {
        "id": world.store.new_id("cus"),
        "object": "customer",
        "address": params.get("address"),
        "balance": 0,
        "created": world.now,
        "currency": None,
        "default_source": None,
        "delinquent": False,
        "description": params.get("description"),
        "discount": None,
        "email": params.get("email"),
        "invoice_prefix": "",
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": False,
        "metadata": merged_metadata({}, params.get("metadata")),
        "name": params.get("name"),
        "next_invoice_sequence": 1,
        "phone": params.get("phone"),
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": None,
        "_balances": {},
    }
    made["invoice_prefix"] = made["id"][-8:].upper()
    world.store.add("customer", made)
    world.emit("customer.created", made)
    return made


def update(world: World, params: Params, customer: str) -> Document:
    held = world.find("customer", customer)
    for name in SIMPLE:
        if name in params:
            held[name] = params[name] or None
    if "address" in params:
        held["address"] = params["address"] or None
    held["metadata"] = merged_metadata(held["metadata"], params.get("metadata"))
    chosen = params.get("invoice_settings", {}).get("default_payment_method")
    if chosen:
        method = world.find("payment_method", chosen, param="invoice_settings")
        if method["customer"] != customer:
            msg = "The customer does not have a payment method with that id."
            raise refused(msg, param="invoice_settings[default_payment_method]")
        held["invoice_settings"]["default_payment_method"] = chosen
    world.store.save(held)
    world.emit("customer.updated", held)
    return held


def retrieve(world: World, params: Params, customer: str) -> Document:
    """Return it, also a deleted one, as Stripe does."""
    held = world.store.get("customer", customer)
    return held if held is not None else world.find("customer", customer)


def delete(world: World, params: Params, customer: str) -> Document:
    held = world.find("customer", customer)
    gone: Document = {"id": held["id"], "object": "customer", "deleted": True}
    world.emit("customer.deleted", held)
    world.store.save(gone)
    return gone


def listed(world: World, params: Params) -> list[Document]:
    rows = [row for row in world.store.newest_first("customer") if not row.get("deleted")]
    if "email" in params:
        rows = [row for row in rows if row["email"] == params["email"]]
    return rows


def balance_add(
    world: World, *, customer: Document, amount: int, currency: str, kind: str, **links: str
) -> None:
    """Move the customer's balance; negative is credit, which the next invoice consumes."""
    if not amount:
        return
    after = customer["_balances"].get(currency, 0) + amount
    customer["_balances"][currency] = after
    if customer["currency"] in (None, currency):
        customer["currency"], customer["balance"] = currency, after
    world.store.save(customer)
    made: Document = {
        "id": world.store.new_id("cbtxn"),
        "object": "customer_balance_transaction",
        "amount": amount,
        "checkout_session": None,
        "created": world.now,
        "credit_note": links.get("credit_note"),
        "currency": currency,
        "customer": customer["id"],
        "description": None,
        "ending_balance": after,
        "invoice": links.get("invoice"),
        "livemode": False,
        "metadata": {},
        "type": kind,
    }
    world.store.add("balance_transaction", made, customer=customer["id"])


def balance_of(customer: Document, currency: str) -> int:
    return int(customer["_balances"].get(currency, 0))


def balance_listed(world: World, params: Params, customer: str) -> list[Document]:
    world.find("customer", customer)
    return world.store.newest_first("balance_transaction", customer=customer)


def balance_create(world: World, params: Params, customer: str) -> Document:
    held = world.find("customer", customer)
    balance_add(
        world,
        customer=held,
        amount=params["amount"],
        currency=params["currency"],
        kind="adjustment",
    )
    world.emit("customer.updated", held)
    return world.store.newest_first("balance_transaction", customer=customer)[0]


# payment methods


def method_create(
    world: World, *, card: KnownCard, exp_month: int, exp_year: int, name: str = ""
) -> Document:
    """Keep of a card what may be shown of it, and how its charges will turn out."""
    made: Document = {
        "id": world.store.new_id("pm"),
        "object": "payment_method",
        "allow_redisplay": "always",
        "billing_details": {
            "address": None,
            "email": None,
            "name": name or None,
            "phone": None,
            "tax_id": None,
        },
        "card": {
            "brand": card.brand,
            "checks": None,
            "country": "US",
            "display_brand": card.brand,
            "exp_month": exp_month,
            "exp_year": exp_year,
            "fingerprint": None,
            "funding": "credit",
            "generated_from": None,
            "last4": card.last4,
            "networks": None,
            "regulated_status": "unregulated",
            "three_d_secure_usage": {"supported": True},
            "wallet": None,
        },
        "created": world.now,
        "customer": None,
        "customer_account": None,
        "livemode": False,
        "metadata": {},
        "type": "card",
        "_outcome": card.outcome,
    }
    return world.store.add("payment_method", made)


def method_retrieve(world: World, params: Params, payment_method: str) -> Document:
    return world.find("payment_method", payment_method)


def method_attach(world: World, params: Params, payment_method: str) -> Document:
    held = world.find("payment_method", payment_method)
    if "customer" not in params:
        msg = "Missing required param: customer."
        raise refused(msg, param="customer", code="parameter_missing")
    owner = world.find("customer", params["customer"], param="customer")
    if held["customer"] not in (None, owner["id"]):
        msg = "The payment method you provided has already been attached to a customer."
        raise refused(msg)
    return method_bind(world, held, owner["id"])


def method_bind(world: World, held: Document, customer: str) -> Document:
    held["customer"] = customer
    world.store.save(held)
    world.store.db.execute("UPDATE objects SET customer = ? WHERE id = ?", (customer, held["id"]))
    world.emit("payment_method.attached", held)
    return held


def method_detach(world: World, params: Params, payment_method: str) -> Document:
    held = world.find("payment_method", payment_method)
    owner = held["customer"]
    if owner is None:
        msg = "The payment method you provided is not attached to a customer."
        raise refused(msg)
    customer = world.store.get("customer", owner)
    if customer and not customer.get("deleted"):
        chosen = customer["invoice_settings"]
        if chosen["default_payment_method"] == held["id"]:
            chosen["default_payment_method"] = None
            world.store.save(customer)
    held["customer"] = None
    world.store.save(held)
    world.store.db.execute("UPDATE objects SET customer = '' WHERE id = ?", (held["id"],))
    world.emit("payment_method.detached", held)
    return held


def method_listed(world: World, params: Params, customer: str) -> list[Document]:
    world.find("customer", customer)
    return world.store.newest_first("payment_method", customer=customer)


def methods_listed(world: World, params: Params) -> list[Document]:
    if "customer" not in params:
        return []
    return method_listed(world, params, params["customer"])
