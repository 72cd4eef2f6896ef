"""Turns stored documents into what leaves the double: private out, lines in, ids expanded."""

from collections.abc import Sequence
from typing import Any, Final

from billing.payments.sandbox.problems import invalid
from billing.payments.sandbox.store import Document, Store

EXPAND_DEPTH_MAX: Final = 4
LINES_SHOWN: Final = 10
PAGE_DEFAULT: Final = 10
PAGE_MAX: Final = 100


def rendered(store: Store, document: Document, expand: Sequence[str] = ()) -> Document:
    """Return the public form of one object, with what `expand` asks for in place of ids."""
    made = {name: value for name, value in document.items() if not name.startswith("_")}
    if made.get("object") == "invoice" and not made.get("deleted"):
        made["lines"] = page(
            lines_of(store, made["id"]),
            url=f"/v1/invoices/{made['id']}/lines",
            limit=LINES_SHOWN,
            total=True,
        )
    for path in expand:
        parts = path.split(".")
        if len(parts) > EXPAND_DEPTH_MAX:
            msg = f"You cannot expand more than {EXPAND_DEPTH_MAX} levels of a property."
            raise invalid(msg, param="expand")
        _expand(store, made, parts, path)
    return made


def rendered_list(store: Store, listing: Document, expand: Sequence[str]) -> Document:
    """Return a list whose members are rendered; paths begin with `data.`."""
    inside = []
    for path in expand:
        head, _, rest = path.partition(".")
        if head != "data" or not rest:
            msg = f"This property cannot be expanded ({path})."
            raise invalid(msg, param="expand")
        inside.append(rest)
    listing["data"] = [rendered(store, row, inside) for row in listing["data"]]
    return listing


def _expand(store: Store, here: Any, parts: list[str], path: str) -> None:
    if isinstance(here, list):
        for row in here:
            _expand(store, row, parts, path)
        return
    if here is None:
        return
    name, rest = parts[0], parts[1:]
    if here.get("object") == "invoice" and name == "payments" and "payments" not in here:
        here["payments"] = page(
            store.newest_first("invoice_payment", parent=here["id"]),
            url=f"/v1/invoice_payments?invoice={here['id']}",
            limit=PAGE_MAX,
        )
    if name not in here or name == "id":
        msg = f"This property cannot be expanded ({path})."
        raise invalid(msg, param="expand")
    held = here[name]
    if isinstance(held, str):
        found = store.any_kind(held)
        if found is None:
            msg = f"This property cannot be expanded ({path})."
            raise invalid(msg, param="expand")
        here[name] = held = rendered(store, found[1])
    if rest:
        _expand(store, held, rest, path)


def page(
    rows: Sequence[Document],
    *,
    url: str,
    limit: int = PAGE_DEFAULT,
    starting_after: str = "",
    ending_before: str = "",
    total: bool = False,
) -> Document:
    """Cut one page out of rows that are in order.

    :raises Problem: 400 for a limit or a cursor that is not in the list.

    >>> found = page([{"id": "c"}, {"id": "b"}, {"id": "a"}], url="/", limit=2)
    >>> [row["id"] for row in found["data"]], found["has_more"]
    (['c', 'b'], True)
    """
    if not 1 <= limit <= PAGE_MAX:
        msg = f"This value must be between 1 and {PAGE_MAX}."
        raise invalid(msg, param="limit")
    ids = [row["id"] for row in rows]
    if ending_before:
        end = _cursor(ids, ending_before, "ending_before")
        start = max(end - limit, 0)
        cut, more = rows[start:end], start > 0
    else:
        start = _cursor(ids, starting_after, "starting_after") + 1 if starting_after else 0
        cut, more = rows[start : start + limit], len(rows) > start + limit
    made: Document = {"object": "list", "url": url, "has_more": more, "data": list(cut)}
    if total:
        made["total_count"] = len(rows)
    return made


def _cursor(ids: Sequence[str], cursor: str, param: str) -> int:
    if cursor not in ids:
        msg = f"No such object in this list: '{cursor}'"
        raise invalid(msg, param=param, code="resource_missing")
    return ids.index(cursor)


def lines_of(store: Store, invoice_id: str) -> list[Document]:
    """Return an invoice's lines, newest first: one for each of its items."""
    return [_line(item) for item in store.newest_first("invoiceitem", parent=invoice_id)]


def _line(item: Document) -> Document:
    return {
        "id": item["_line_id"],
        "object": "line_item",
        "amount": item["amount"],
        "currency": item["currency"],
        "description": item["description"],
        "discount_amounts": [],
        "discountable": item["discountable"],
        "discounts": [],
        "invoice": item["invoice"],
        "livemode": False,
        "metadata": item["metadata"],
        "parent": {
            "type": "invoice_item_details",
            "invoice_item_details": {
                "invoice_item": item["id"],
                "proration": False,
                "proration_details": None,
                "subscription": None,
            },
            "subscription_item_details": None,
        },
        "period": item["period"],
        "pretax_credit_amounts": [],
        "pricing": None,
        "quantity": item["quantity"],
        "subscription": None,
        "subtotal": item["amount"],
        "taxes": [],
    }
