"""Credit notes and refunds: what can still happen to the money of a finalized invoice."""

from typing import Any

from billing.payments.sandbox import customers
from billing.payments.sandbox.invoices import settle
from billing.payments.sandbox.problems import invalid, refused
from billing.payments.sandbox.render import page
from billing.payments.sandbox.store import Document
from billing.payments.sandbox.world import World, merged_metadata

Params = dict[str, Any]


def note_create(world: World, params: Params) -> Document:
    """Credit a finalized invoice, never beyond its total.

    What remains to be paid goes down first; the part above it has to be given in full as
    `credit_amount` (balance), `refund_amount` and `out_of_band_amount`.
    """
    invoice = world.find("invoice", params["invoice"], param="invoice")
    if invoice["status"] not in ("open", "paid", "uncollectible"):
        msg = f"A {invoice['status']} invoice cannot be credited."
        raise refused(msg, param="invoice")
    amount = params.get("amount", 0)
    if amount <= 0:
        msg = "This double takes credit notes by a positive amount."
        raise invalid(msg, param="amount", code="double_unsupported")
    issued = [n for n in _notes(world, invoice["id"]) if n["status"] == "issued"]
    if sum(note["total"] for note in issued) + amount > invoice["total"]:
        msg = "The credit notes would be greater than the invoice."
        raise refused(msg, param="amount")
    before = min(amount, invoice["amount_remaining"])
    above = amount - before
    ways = ("credit_amount", "refund_amount", "out_of_band_amount")
    given = sum(params.get(way, 0) for way in ways)
    if given != above:
        msg = f"The amount above what remains to be paid is {above}, but {given} was given."
        raise refused(msg, param="credit_amount")
    made = _note(world, params, invoice, before=before, above=above)
    world.store.add("credit_note", made, customer=invoice["customer"], parent=invoice["id"])
    _credit(world, invoice, made, balance=params.get("credit_amount", 0))
    _refund(world, invoice, made, amount=params.get("refund_amount", 0))
    world.emit("credit_note.created", made)
    return made


def _note(world: World, params: Params, invoice: Document, *, before: int, above: int) -> Document:
    new, amount = world.store.new_id("cn"), before + above
    kind = "mixed" if before and above else "post_payment" if above else "pre_payment"
    line: Document = {
        "id": world.store.new_id("cnli"),
        "object": "credit_note_line_item",
        "amount": amount,
        "description": params.get("memo"),
        "discount_amount": 0,
        "discount_amounts": [],
        "livemode": False,
        "metadata": {},
        "pretax_credit_amounts": [],
        "quantity": 1,
        "tax_rates": [],
        "taxes": [],
        "type": "custom_line_item",
        "unit_amount": amount,
        "unit_amount_decimal": str(amount),
    }
    count = len(_notes(world, invoice["id"])) + 1
    return {
        "id": new,
        "object": "credit_note",
        "amount": amount,
        "amount_shipping": 0,
        "created": world.now,
        "currency": invoice["currency"],
        "customer": invoice["customer"],
        "customer_account": None,
        "customer_balance_transaction": None,
        "discount_amount": 0,
        "discount_amounts": [],
        "effective_at": world.now,
        "invoice": invoice["id"],
        "lines": page([line], url=f"/v1/credit_notes/{new}/lines"),
        "livemode": False,
        "memo": params.get("memo"),
        "metadata": merged_metadata({}, params.get("metadata")),
        "number": f"{invoice['number']}-CN-{count:02d}",
        "out_of_band_amount": params.get("out_of_band_amount"),
        "pdf": f"{world.public_url}/i/{invoice['id']}/pdf",
        "post_payment_amount": above,
        "pre_payment_amount": before,
        "pretax_credit_amounts": [],
        "reason": params.get("reason"),
        "refunds": [],
        "shipping_cost": None,
        "status": "issued",
        "subtotal": amount,
        "subtotal_excluding_tax": amount,
        "total": amount,
        "total_excluding_tax": amount,
        "total_taxes": [],
        "type": kind,
        "voided_at": None,
        "_balance": params.get("credit_amount", 0),
    }


def _credit(world: World, invoice: Document, note: Document, *, balance: int) -> None:
    invoice["pre_payment_credit_notes_amount"] += note["pre_payment_amount"]
    invoice["post_payment_credit_notes_amount"] += note["post_payment_amount"]
    invoice["amount_remaining"] -= note["pre_payment_amount"]
    invoice["amount_due"] -= note["pre_payment_amount"]
    customers.balance_add(
        world,
        customer=world.find("customer", invoice["customer"], param="customer"),
        amount=-balance,
        currency=invoice["currency"],
        kind="credit_note",
        credit_note=note["id"],
        invoice=invoice["id"],
    )
    if invoice["status"] == "open" and invoice["amount_remaining"] == 0:
        settle(world, invoice)
        return
    world.store.save(invoice)
    world.emit("invoice.updated", invoice)


def _refund(world: World, invoice: Document, note: Document, *, amount: int) -> None:
    """Give the paid part back to the card that paid, as one refund of its charge."""
    if not amount:
        return
    links = world.store.newest_first("invoice_payment", parent=invoice["id"])
    paid = [link for link in links if link["status"] == "paid"]
    if not paid:
        msg = "The invoice has no payment that could be refunded."
        raise refused(msg, param="refund_amount")
    intent = paid[0]["payment"]["payment_intent"]
    made = refund_create(world, {"payment_intent": intent, "amount": amount})
    note["refunds"] = [
        {
            "amount_refunded": amount,
            "payment_record_refund": None,
            "refund": made["id"],
            "type": "refund",
        }
    ]
    world.store.save(note)


def _notes(world: World, invoice: str) -> list[Document]:
    return world.store.newest_first("credit_note", parent=invoice)


def note_retrieve(world: World, params: Params, id: str) -> Document:
    return world.find("credit_note", id)


def notes_listed(world: World, params: Params) -> list[Document]:
    return world.store.newest_first(
        "credit_note", customer=params.get("customer"), parent=params.get("invoice")
    )


def note_void(world: World, params: Params, id: str) -> Document:
    """Take a note back while its invoice is open."""
    note = world.find("credit_note", id)
    invoice = world.find("invoice", note["invoice"])
    if note["status"] != "issued" or invoice["status"] != "open":
        msg = "Only an issued credit note on an open invoice can be voided."
        raise refused(msg)
    note["status"], note["voided_at"] = "void", world.now
    world.store.save(note)
    for name in ("amount_remaining", "amount_due"):
        invoice[name] += note["pre_payment_amount"]
    invoice["pre_payment_credit_notes_amount"] -= note["pre_payment_amount"]
    world.store.save(invoice)
    world.emit("credit_note.voided", note)
    world.emit("invoice.updated", invoice)
    return note


# refunds


def refund_create(world: World, params: Params) -> Document:
    """Give back money of a charge, never more than it took."""
    charge = _charge_of(world, params)
    left = charge["amount_captured"] - charge["amount_refunded"]
    amount = params.get("amount", left)
    if not 0 < amount <= left:
        msg = f"The refund of {amount} is greater than the unrefunded amount of {left}."
        raise refused(msg, param="amount", code="charge_already_refunded" if not left else "")
    made: Document = {
        "id": world.store.new_id("re"),
        "object": "refund",
        "amount": amount,
        "balance_transaction": None,
        "charge": charge["id"],
        "created": world.now,
        "currency": charge["currency"],
        "metadata": merged_metadata({}, params.get("metadata")),
        "payment_intent": charge["payment_intent"],
        "reason": params.get("reason"),
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": "succeeded",
        "transfer_reversal": None,
    }
    world.store.add("refund", made, customer=charge["customer"], parent=charge["id"])
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] == charge["amount_captured"]
    world.store.save(charge)
    world.emit("refund.created", made)
    world.emit("charge.refunded", charge)
    return made


def _charge_of(world: World, params: Params) -> Document:
    if "charge" in params:
        return world.find("charge", params["charge"], param="charge")
    intent_id = params.get("payment_intent", "")
    intent = world.find("payment_intent", intent_id, param="payment_intent")
    if not intent["latest_charge"]:
        msg = "This payment has no successful charge to refund."
        raise refused(msg, param="payment_intent")
    return world.find("charge", intent["latest_charge"])


def refund_retrieve(world: World, params: Params, refund: str) -> Document:
    return world.find("refund", refund)


def refunds_listed(world: World, params: Params) -> list[Document]:
    rows = world.store.newest_first("refund", parent=params.get("charge"))
    if "payment_intent" in params:
        rows = [row for row in rows if row["payment_intent"] == params["payment_intent"]]
    return rows
