"""Payment: intents, charges, and what an attempt does to its invoice."""

from typing import Any, Final

from billing.payments.sandbox import cards
from billing.payments.sandbox.invoices import invoice_for, settle
from billing.payments.sandbox.problems import declined, refused
from billing.payments.sandbox.store import Document
from billing.payments.sandbox.world import World

Params = dict[str, Any]
ACTION_CODE: Final = "invoice_payment_intent_requires_action"


def pay(world: World, params: Params, invoice: str) -> Document:
    """Charge once. A declined card is a 402 and leaves the invoice open, the attempt counted."""
    held = invoice_for(world, invoice, "pay")
    if params.get("paid_out_of_band"):
        held["amount_remaining"] = 0
        held["amount_paid"] = held["amount_due"]
        settle(world, held)
        return held
    method = _method(world, held, params)
    attempt(world, held, method, outcome=_outcome(world, method))
    return held


def _method(world: World, invoice: Document, params: Params) -> Document:
    """Return the method of the call, else the invoice's, else the customer's default."""
    customer = world.find("customer", invoice["customer"], param="customer")
    chosen = (
        params.get("payment_method")
        or invoice["default_payment_method"]
        or customer["invoice_settings"]["default_payment_method"]
    )
    if not chosen:
        msg = "There is no default payment method set on this customer or invoice."
        raise refused(msg, code="missing")
    method = world.find("payment_method", chosen, param="payment_method")
    if method["customer"] != customer["id"]:
        msg = "The payment method does not belong to the customer."
        raise refused(msg, param="payment_method")
    return method


def _outcome(world: World, method: Document) -> str:
    """Return what happens next to this card: what a test ordered, else what the card is for."""
    ordered = world.store.setting("outcomes") or []
    if ordered:
        world.store.setting_put("outcomes", ordered[1:])
        return str(ordered[0])
    return str(method["_outcome"])


def attempt(world: World, invoice: Document, method: Document, *, outcome: str) -> None:
    """Make one attempt to collect what remains.

    :raises Problem: 402 where it does not go through; what happened stays on record.
    """
    intent, payment = intent_of(world, invoice)
    invoice["attempted"] = True
    invoice["attempt_count"] += 1
    if outcome == cards.SUCCEEDS:
        _succeed(world, invoice, intent, payment, method)
        return
    if outcome == cards.REQUIRES_ACTION:
        _ask_for_action(world, invoice, intent, method)
    _decline(world, invoice, intent, method, outcome)


def intent_of(world: World, invoice: Document) -> tuple[Document, Document]:
    """Return the invoice's intent and its link, made when it is first asked to be paid."""
    links = world.store.newest_first("invoice_payment", parent=invoice["id"])
    for link in links:
        if link["status"] == "open":
            intent = world.find("payment_intent", link["payment"]["payment_intent"])
            intent["amount"] = link["amount_requested"] = invoice["amount_remaining"]
            return intent, link
    intent = _intent(world, invoice)
    world.store.add("payment_intent", intent, customer=invoice["customer"])
    link = {
        "id": world.store.new_id("inpay"),
        "object": "invoice_payment",
        "amount_paid": None,
        "amount_requested": intent["amount"],
        "created": world.now,
        "currency": invoice["currency"],
        "invoice": invoice["id"],
        "is_default": True,
        "livemode": False,
        "payment": {"type": "payment_intent", "payment_intent": intent["id"]},
        "status": "open",
        "status_transitions": {"canceled_at": None, "paid_at": None},
    }
    world.store.add("invoice_payment", link, customer=invoice["customer"], parent=invoice["id"])
    world.emit("payment_intent.created", intent)
    return intent, link


def _intent(world: World, invoice: Document) -> Document:
    nothings = (
        "application application_fee_amount automatic_payment_methods canceled_at "
        "cancellation_reason customer_account last_payment_error latest_charge next_action "
        "on_behalf_of payment_method processing receipt_email review setup_future_usage shipping "
        "source statement_descriptor statement_descriptor_suffix transfer_data transfer_group"
    )
    new = world.store.new_id("pi")
    return {
        **dict.fromkeys(nothings.split()),
        "id": new,
        "object": "payment_intent",
        "amount": invoice["amount_remaining"],
        "amount_capturable": 0,
        "amount_received": 0,
        "capture_method": "automatic",
        "client_secret": f"{new}_secret_double",
        "confirmation_method": "automatic",
        "created": world.now,
        "currency": invoice["currency"],
        "customer": invoice["customer"],
        "description": "Payment for invoice",
        "livemode": False,
        "metadata": {},
        "payment_method_options": {},
        "payment_method_types": ["card"],
        "status": "requires_payment_method",
        "_invoice": invoice["id"],
    }


def _charge(world: World, intent: Document, method: Document, decline: str) -> Document:
    nothings = (
        "application application_fee application_fee_amount balance_transaction failure_code "
        "failure_balance_transaction failure_message fraud_details on_behalf_of outcome "
        "receipt_email receipt_number receipt_url review shipping source source_transfer "
        "statement_descriptor statement_descriptor_suffix transfer_data transfer_group"
    )
    paid = not decline
    made: Document = {
        **dict.fromkeys(nothings.split()),
        "id": world.store.new_id("ch"),
        "object": "charge",
        "amount": intent["amount"],
        "amount_captured": intent["amount"] if paid else 0,
        "amount_refunded": 0,
        "billing_details": method["billing_details"],
        "captured": paid,
        "created": world.now,
        "currency": intent["currency"],
        "customer": intent["customer"],
        "description": intent["description"],
        "disputed": False,
        "livemode": False,
        "metadata": {},
        "paid": paid,
        "payment_intent": intent["id"],
        "payment_method": method["id"],
        "payment_method_details": {"type": "card"},
        "refunded": False,
        "status": "succeeded" if paid else "failed",
    }
    if decline:
        made["failure_code"], made["failure_message"] = "card_declined", cards.DECLINES[decline]
    world.store.add("charge", made, customer=intent["customer"], parent=intent["id"])
    intent["latest_charge"] = made["id"]
    return made


def _succeed(
    world: World, invoice: Document, intent: Document, payment: Document, method: Document
) -> None:
    charge = _charge(world, intent, method, "")
    amount = invoice["amount_remaining"]
    intent |= {
        "amount_received": amount,
        "last_payment_error": None,
        "next_action": None,
        "payment_method": method["id"],
        "status": "succeeded",
    }
    world.store.save(intent)
    payment |= {"amount_paid": amount, "status": "paid"}
    payment["status_transitions"]["paid_at"] = world.now
    world.store.save(payment)
    invoice["amount_paid"] += amount
    invoice["amount_remaining"] = 0
    world.emit("charge.succeeded", charge)
    world.emit("payment_intent.succeeded", intent)
    world.emit("invoice_payment.paid", payment)
    settle(world, invoice)


def _decline(
    world: World, invoice: Document, intent: Document, method: Document, decline: str
) -> None:
    charge = _charge(world, intent, method, decline)
    message = cards.DECLINES[decline]
    intent["status"] = "requires_payment_method"
    intent["last_payment_error"] = {
        "charge": charge["id"],
        "code": "card_declined",
        "decline_code": decline,
        "message": message,
        "type": "card_error",
    }
    world.store.save(intent)
    world.store.save(invoice)
    world.emit("charge.failed", charge)
    world.emit("payment_intent.payment_failed", intent)
    world.emit_all(("invoice.updated", "invoice.payment_failed"), invoice)
    raise declined(code="card_declined", decline_code=decline, message=message)


def _ask_for_action(world: World, invoice: Document, intent: Document, method: Document) -> None:
    intent["status"] = "requires_action"
    intent["payment_method"] = method["id"]
    intent["next_action"] = {
        "type": "redirect_to_url",
        "redirect_to_url": {"return_url": None, "url": invoice["hosted_invoice_url"]},
    }
    world.store.save(intent)
    world.store.save(invoice)
    world.emit("payment_intent.requires_action", intent)
    names = ("invoice.updated", "invoice.payment_action_required", "invoice.payment_failed")
    world.emit_all(names, invoice)
    message = "This payment needs an action of the customer before it can be completed."
    raise declined(code=ACTION_CODE, decline_code="", message=message)


def action_done(world: World, invoice: str) -> Document:
    """Complete a payment that waited for the customer; called by the hosted page."""
    held = invoice_for(world, invoice, "pay")
    intent, payment = intent_of(world, held)
    if intent["status"] != "requires_action":
        msg = "Nothing is waiting for the customer."
        raise refused(msg)
    method = world.find("payment_method", intent["payment_method"])
    _succeed(world, held, intent, payment, method)
    return held


# what is read


def intent_retrieve(world: World, params: Params, intent: str) -> Document:
    return world.find("payment_intent", intent)


def intents_listed(world: World, params: Params) -> list[Document]:
    return world.store.newest_first("payment_intent", customer=params.get("customer"))


def charge_retrieve(world: World, params: Params, charge: str) -> Document:
    return world.find("charge", charge)


def charges_listed(world: World, params: Params) -> list[Document]:
    return world.store.newest_first(
        "charge", customer=params.get("customer"), parent=params.get("payment_intent")
    )


def payment_retrieve(world: World, params: Params, invoice_payment: str) -> Document:
    return world.find("invoice_payment", invoice_payment)


def payments_listed(world: World, params: Params) -> list[Document]:
    rows = world.store.newest_first("invoice_payment", parent=params.get("invoice"))
    if "status" in params:
        rows = [row for row in rows if row["status"] == params["status"]]
    if "payment" in params:
        wanted = params["payment"].get("payment_intent")
        rows = [row for row in rows if row["payment"]["payment_intent"] == wanted]
    return rows
