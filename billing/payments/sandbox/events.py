"""The event log as the API shows it."""

from typing import Any

from billing.payments.sandbox.store import Document
from billing.payments.sandbox.world import World

Params = dict[str, Any]


def retrieve(world: World, params: Params, id: str) -> Document:
    return world.find("event", id)


def listed(world: World, params: Params) -> list[Document]:
    """Filter by one type, a prefix that ends in `*`, or several types."""
    rows = world.store.newest_first("event")
    if "type" in params:
        wanted = params["type"]
        prefix = wanted.removesuffix("*")
        rows = [
            row
            for row in rows
            if row["type"] == wanted or (prefix != wanted and row["type"].startswith(prefix))
        ]
    if "types" in params:
        rows = [row for row in rows if row["type"] in params["types"]]
    return rows
