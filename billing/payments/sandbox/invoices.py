"""The invoice's life: draft → open → paid | void | uncollectible, every other move refused.

Amounts are sums of lines. A customer's balance is applied when the invoice is finalized: what is
asked for is `total` plus balance, never below zero, and what lies below zero stays as balance.
"""

from typing import Any, Final

from billing.payments.sandbox import customers
from billing.payments.sandbox.problems import invalid, refused
from billing.payments.sandbox.render import lines_of
from billing.payments.sandbox.store import Document
from billing.payments.sandbox.world import World, merged_metadata

Params = dict[str, Any]
DAY_S: Final = 86_400
MOVES: Final = {
    "finalize": (("draft",), "This invoice is already finalized, it cannot be finalized again."),
    "pay": (("open", "uncollectible"), "Only an open invoice can be paid."),
    "send": (("open",), "Only an open invoice can be sent."),
    "void": (("open", "uncollectible"), "Only an open or uncollectible invoice can be voided."),
    "uncollectible": (("open",), "Only an open invoice can be marked uncollectible."),
    "delete": (("draft",), "Only a draft can be deleted; a finalized invoice is voided."),
    "edit": (("draft",), "A finalized invoice can no longer be changed."),
}
EDITABLE_LATER: Final = frozenset({"metadata", "auto_advance", "default_payment_method"})


def invoice_for(world: World, invoice: str, move: str) -> Document:
    """Return an invoice whose status allows the move.

    :raises Problem: 404, or 400 naming the status it has.
    """
    held = world.find("invoice", invoice, param="invoice")
    allowed, sentence = MOVES[move]
    if held["status"] not in allowed:
        msg = f"{sentence} Its status is {held['status']}."
        raise refused(msg, code="invoice_not_editable" if move == "edit" else "")
    return held


def create(world: World, params: Params) -> Document:
    if "customer" not in params:
        msg = "You must specify a customer."
        raise invalid(msg, param="customer", code="parameter_missing")
    customer = world.find("customer", params["customer"], param="customer")
    method = params.get("collection_method", "charge_automatically")
    _due_allowed(method, params)
    currency = params.get("currency") or customer["currency"] or "usd"
    made = _blank(world, customer, currency)
    made["collection_method"] = method
    made["_days_until_due"] = params.get("days_until_due")
    made["description"] = params.get("description")
    made["default_payment_method"] = params.get("default_payment_method")
    made["metadata"] = merged_metadata({}, params.get("metadata"))
    world.store.add("invoice", made, customer=customer["id"])
    if params.get("pending_invoice_items_behavior") == "include":
        _take_pending(world, made)
    recompute(world, made)
    world.emit("invoice.created", made)
    return made


def _due_allowed(method: str, params: Params) -> None:
    if params.get("auto_advance"):
        msg = "auto_advance=true runs in the background, which this double does not."
        raise invalid(msg, param="auto_advance", code="double_unsupported")
    if method == "send_invoice" and "days_until_due" not in params:
        msg = "You must pass days_until_due when collection_method is send_invoice."
        raise invalid(msg, param="days_until_due", code="parameter_missing")
    if method != "send_invoice" and "days_until_due" in params:
        msg = "days_until_due is only allowed when collection_method is send_invoice."
        raise invalid(msg, param="days_until_due")


def _blank(world: World, customer: Document, currency: str) -> Document:
    zeros = (
        "amount_due amount_overpaid amount_paid amount_remaining amount_shipping attempt_count "
        "post_payment_credit_notes_amount pre_payment_credit_notes_amount starting_balance "
        "subtotal subtotal_excluding_tax total total_excluding_tax"
    )
    nothings = (
        "account_country account_name account_tax_ids application automatically_finalizes_at "
        "confirmation_secret custom_fields customer_account customer_shipping "
        "default_payment_method default_source description due_date effective_at ending_balance "
        "footer from_invoice hosted_invoice_url invoice_pdf last_finalization_error "
        "latest_revision next_payment_attempt number on_behalf_of parent receipt_number rendering "
        "shipping_cost shipping_details statement_descriptor test_clock webhooks_delivered_at"
    )
    return {
        **dict.fromkeys(zeros.split(), 0),
        **dict.fromkeys(nothings.split()),
        "id": world.store.new_id("in"),
        "object": "invoice",
        "attempted": False,
        "auto_advance": False,
        "automatic_tax": {
            "disabled_reason": None,
            "enabled": False,
            "liability": None,
            "provider": None,
            "status": None,
        },
        "billing_reason": "manual",
        "created": world.now,
        "currency": currency,
        "customer": customer["id"],
        "customer_address": customer["address"],
        "customer_email": customer["email"],
        "customer_name": customer["name"],
        "customer_phone": customer["phone"],
        "customer_tax_exempt": customer["tax_exempt"],
        "customer_tax_ids": [],
        "default_tax_rates": [],
        "discounts": [],
        "issuer": {"type": "self"},
        "livemode": False,
        "payment_settings": {
            "default_mandate": None,
            "payment_method_options": None,
            "payment_method_types": None,
        },
        "period_end": world.now,
        "period_start": world.now,
        "status": "draft",
        "status_transitions": {
            "finalized_at": None,
            "marked_uncollectible_at": None,
            "paid_at": None,
            "voided_at": None,
        },
        "total_discount_amounts": [],
        "total_pretax_credit_amounts": [],
        "total_taxes": [],
    }


def _take_pending(world: World, invoice: Document) -> None:
    """Take in the customer's items that stand on no invoice yet."""
    rows = world.store.newest_first("invoiceitem", customer=invoice["customer"], parent="")
    for item in rows:
        if item["currency"] == invoice["currency"]:
            item["invoice"] = invoice["id"]
            world.store.save(item)
            world.store.db.execute(
                "UPDATE objects SET parent = ? WHERE id = ?", (invoice["id"], item["id"])
            )


def recompute(world: World, invoice: Document) -> None:
    """Set a draft's sums from its lines and the balance as it is now."""
    total = sum(line["amount"] for line in lines_of(world.store, invoice["id"]))
    customer = world.find("customer", invoice["customer"], param="customer")
    balance = customers.balance_of(customer, invoice["currency"])
    due = max(total + balance, 0)
    invoice |= {
        "subtotal": total,
        "subtotal_excluding_tax": total,
        "total": total,
        "total_excluding_tax": total,
        "starting_balance": balance,
        "amount_due": due,
        "amount_remaining": due,
    }
    world.store.save(invoice)


def update(world: World, params: Params, invoice: str) -> Document:
    held = world.find("invoice", invoice, param="invoice")
    if set(params) - EDITABLE_LATER:
        held = invoice_for(world, invoice, "edit")
    method = str(params.get("collection_method", held["collection_method"]))
    days = params.get("days_until_due", held["_days_until_due"])
    _due_allowed(
        method,
        {
            "auto_advance": params.get("auto_advance"),
            **({} if days is None else {"days_until_due": days}),
        },
    )
    held["collection_method"], held["_days_until_due"] = method, days
    for name in ("description", "default_payment_method"):
        if name in params:
            held[name] = params[name] or None
    held["metadata"] = merged_metadata(held["metadata"], params.get("metadata"))
    world.store.save(held)
    world.emit("invoice.updated", held)
    return held


def retrieve(world: World, params: Params, invoice: str) -> Document:
    return world.find("invoice", invoice, param="invoice")


def delete(world: World, params: Params, invoice: str) -> Document:
    held = invoice_for(world, invoice, "delete")
    for item in world.store.newest_first("invoiceitem", parent=invoice):
        world.store.remove(item["id"])
    world.emit("invoice.deleted", held)
    world.store.remove(invoice)
    return {"id": invoice, "object": "invoice", "deleted": True}


def listed(world: World, params: Params) -> list[Document]:
    rows = world.store.newest_first("invoice", customer=params.get("customer"))
    for name in ("status", "collection_method"):
        if name in params:
            rows = [row for row in rows if row[name] == params[name]]
    return rows


def lines_listed(world: World, params: Params, invoice: str) -> list[Document]:
    world.find("invoice", invoice, param="invoice")
    return lines_of(world.store, invoice)


def finalize(world: World, params: Params, invoice: str) -> Document:
    """Fix the sums, apply the balance, give the number; nothing to ask for ends paid."""
    held = invoice_for(world, invoice, "finalize")
    if params.get("auto_advance"):
        _due_allowed(held["collection_method"], params)
    recompute(world, held)
    customer = world.find("customer", held["customer"], param="customer")
    net = held["total"] + held["starting_balance"]
    held["ending_balance"] = min(net, 0)
    customers.balance_add(
        world,
        customer=customer,
        amount=held["ending_balance"] - held["starting_balance"],
        currency=held["currency"],
        kind="applied_to_invoice",
        invoice=invoice,
    )
    held["number"] = f"{customer['invoice_prefix']}-{customer['next_invoice_sequence']:04d}"
    customer["next_invoice_sequence"] += 1
    customer["currency"] = customer["currency"] or held["currency"]
    world.store.save(customer)
    days = held["_days_until_due"]
    held |= {
        "status": "open",
        "effective_at": world.now,
        "due_date": None if days is None else world.now + days * DAY_S,
        "hosted_invoice_url": f"{world.public_url}/i/{invoice}",
        "invoice_pdf": f"{world.public_url}/i/{invoice}/pdf",
    }
    held["status_transitions"]["finalized_at"] = world.now
    world.store.save(held)
    world.emit("invoice.finalized", held)
    if held["amount_due"] == 0:
        settle(world, held)
    return held


def settle(world: World, invoice: Document) -> None:
    """Mark an invoice paid, with nothing left to ask for."""
    invoice["status"] = "paid"
    invoice["attempted"] = True
    invoice["status_transitions"]["paid_at"] = world.now
    world.store.save(invoice)
    world.emit_all(("invoice.updated", "invoice.paid", "invoice.payment_succeeded"), invoice)


def void(world: World, params: Params, invoice: str) -> Document:
    """Ask for it no longer; balance that it had consumed comes back."""
    held = invoice_for(world, invoice, "void")
    customer = world.find("customer", held["customer"], param="customer")
    customers.balance_add(
        world,
        customer=customer,
        amount=held["starting_balance"] - (held["ending_balance"] or 0),
        currency=held["currency"],
        kind="unapplied_from_invoice",
        invoice=invoice,
    )
    held["status"] = "void"
    held["amount_remaining"] = 0
    held["status_transitions"]["voided_at"] = world.now
    world.store.save(held)
    world.emit_all(("invoice.updated", "invoice.voided"), held)
    return held


def mark_uncollectible(world: World, params: Params, invoice: str) -> Document:
    held = invoice_for(world, invoice, "uncollectible")
    held["status"] = "uncollectible"
    held["status_transitions"]["marked_uncollectible_at"] = world.now
    world.store.save(held)
    world.emit_all(("invoice.updated", "invoice.marked_uncollectible"), held)
    return held


def send(world: World, params: Params, invoice: str) -> Document:
    held = invoice_for(world, invoice, "send")
    if held["collection_method"] != "send_invoice":
        msg = "You can only send an invoice whose collection method is send_invoice."
        raise refused(msg)
    world.emit("invoice.sent", held)
    return held
