"""Invoice items, each of which is one line of a draft."""

from typing import Any, Final

from billing.payments.sandbox.invoices import invoice_for, recompute
from billing.payments.sandbox.problems import invalid, refused
from billing.payments.sandbox.schema import metadata_fits
from billing.payments.sandbox.store import Document
from billing.payments.sandbox.world import World, merged_metadata

Params = dict[str, Any]
ITEMS_MAX: Final = 250
AMOUNT_MAX: Final = 99_999_999_99


def create(world: World, params: Params) -> Document:
    """Add one item; it stands on the invoice named, or waits for one."""
    for name in ("customer", "amount", "currency"):
        if name not in params:
            msg = f"Missing required param: {name}."
            raise invalid(msg, param=name, code="parameter_missing")
    customer = world.find("customer", params["customer"], param="customer")
    invoice = None
    if "invoice" in params:
        invoice = invoice_for(world, params["invoice"], "edit")
        if invoice["customer"] != customer["id"]:
            msg = "The invoice belongs to another customer."
            raise refused(msg, param="invoice")
    made = _add(world, params, customer["id"], invoice)
    world.emit("invoiceitem.created", made)
    if invoice is not None:
        recompute(world, invoice)
        world.emit("invoice.updated", invoice)
    return made


def _add(world: World, params: Params, customer: str, invoice: Document | None) -> Document:
    currency = params.get("currency") or (invoice or {}).get("currency", "usd")
    if invoice is not None:
        _room_left(world, invoice, currency)
    _amount_fits(params["amount"])
    period = params.get("period") or {"start": world.now, "end": world.now}
    _period_fits(period)
    made: Document = {
        "id": world.store.new_id("ii"),
        "object": "invoiceitem",
        "amount": params["amount"],
        "currency": currency,
        "customer": customer,
        "customer_account": None,
        "date": world.now,
        "description": params.get("description"),
        "discountable": params.get("discountable", params["amount"] > 0),
        "discounts": [],
        "invoice": None if invoice is None else invoice["id"],
        "livemode": False,
        "metadata": merged_metadata({}, params.get("metadata")),
        "net_amount": params["amount"],
        "parent": None,
        "period": period,
        "pricing": None,
        "proration": False,
        "proration_details": None,
        "quantity": 1,
        "quantity_decimal": "1",
        "tax_rates": [],
        "test_clock": None,
        "_line_id": world.store.new_id("il"),
    }
    parent = "" if invoice is None else invoice["id"]
    return world.store.add("invoiceitem", made, customer=customer, parent=parent)


def _room_left(world: World, invoice: Document, currency: str) -> None:
    if currency != invoice["currency"]:
        msg = f"The currency of the item must be the invoice's, {invoice['currency']}."
        raise refused(msg, param="currency")
    if len(world.store.newest_first("invoiceitem", parent=invoice["id"])) >= ITEMS_MAX:
        msg = f"An invoice holds at most {ITEMS_MAX} items."
        raise refused(msg, param="invoice")


def _amount_fits(amount: int) -> None:
    if abs(amount) > AMOUNT_MAX:
        msg = "The amount is too large."
        raise invalid(msg, param="amount", code="amount_too_large")


def _period_fits(period: dict[str, int]) -> None:
    if period["end"] < period["start"]:
        msg = "The period ends before it starts."
        raise invalid(msg, param="period")


def retrieve(world: World, params: Params, invoiceitem: str) -> Document:
    return world.find("invoiceitem", invoiceitem)


def update(world: World, params: Params, invoiceitem: str) -> Document:
    held, invoice = _editable(world, invoiceitem)
    if "amount" in params:
        _amount_fits(params["amount"])
        held["amount"] = held["net_amount"] = params["amount"]
    if "period" in params:
        _period_fits(params["period"])
        held["period"] = params["period"]
    if "description" in params:
        held["description"] = params["description"] or None
    held["metadata"] = merged_metadata(held["metadata"], params.get("metadata"))
    world.store.save(held)
    if invoice is not None:
        recompute(world, invoice)
        world.emit("invoice.updated", invoice)
    return held


def delete(world: World, params: Params, invoiceitem: str) -> Document:
    held, invoice = _editable(world, invoiceitem)
    world.emit("invoiceitem.deleted", held)
    world.store.remove(invoiceitem)
    if invoice is not None:
        recompute(world, invoice)
        world.emit("invoice.updated", invoice)
    return {"id": invoiceitem, "object": "invoiceitem", "deleted": True}


def _editable(world: World, invoiceitem: str) -> tuple[Document, Document | None]:
    held = world.find("invoiceitem", invoiceitem)
    if held["invoice"] is None:
        return held, None
    return held, invoice_for(world, held["invoice"], "edit")


def listed(world: World, params: Params) -> list[Document]:
    rows = world.store.newest_first(
        "invoiceitem", customer=params.get("customer"), parent=params.get("invoice")
    )
    if params.get("pending"):
        rows = [row for row in rows if row["invoice"] is None]
    return rows


def add_lines(world: World, params: Params, invoice: str) -> Document:
    """Add several lines in one call; all of them or none."""
    held = invoice_for(world, invoice, "edit")
    for index, line in enumerate(params["lines"]):
        unknown = set(line) - {"amount", "description", "discountable", "metadata", "period"}
        if unknown or "amount" not in line:
            msg = "This double takes lines with an amount, description, metadata and period."
            raise invalid(msg, param=f"lines[{index}]", code="double_unsupported")
        if isinstance(line.get("metadata"), dict):
            metadata_fits(line["metadata"])
        made = _add(world, {**line, "currency": held["currency"]}, held["customer"], held)
        world.emit("invoiceitem.created", made)
    if isinstance(params.get("invoice_metadata"), dict):
        held["metadata"] = merged_metadata(held["metadata"], params["invoice_metadata"])
    recompute(world, held)
    world.emit("invoice.updated", held)
    return held
