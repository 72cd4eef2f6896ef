"""Plans and signs webhook deliveries; whoever has a network takes the due ones and reports back.

On demand they are duplicated, delayed, lost or shuffled. Their times are the machine's, never the
clock override of a test, since nothing but a real receiver waits for them.
"""

import json
import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import stripe

from billing.payments.sandbox.store import Store

RETRY_AFTER_MS: Final = (5_000, 60_000, 600_000)
BATCH: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSettings:
    """Where events go and how badly.

    duplicates   extra copies of each delivery
    lose         how many of the next events are never delivered
    shuffle      due deliveries leave in random order
    """

    url: str = ""
    secret: str = ""
    duplicates: int = 0
    delay_ms: int = 0
    lose: int = 0
    shuffle: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    id: int
    url: str
    body: bytes
    header: str


def settings_of(store: Store) -> WebhookSettings:
    return WebhookSettings(**(store.setting("webhooks") or {}))


def settings_save(store: Store, held: WebhookSettings) -> None:
    store.setting_put("webhooks", asdict(held))


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


def plan(store: Store, event_id: str) -> None:
    """Queue an event for delivery, in the transaction that made it."""
    held = settings_of(store)
    if not held.url:
        return
    if held.lose > 0:
        settings_save(store, replace(held, lose=held.lose - 1))
        return
    for _ in range(1 + held.duplicates):
        store.db.execute(
            "INSERT INTO deliveries (event, due_ms) VALUES (?, ?)",
            (event_id, wall_ms() + held.delay_ms),
        )


def due(store: Store, now_ms: int) -> list[Delivery]:
    """Return signed deliveries that are due; signing is new at each attempt, the body is not."""
    with store.lock:
        held = settings_of(store)
        rows = store.db.execute(
            "SELECT deliveries.id, objects.data FROM deliveries "
            "JOIN objects ON objects.id = deliveries.event "
            "WHERE state = 'due' AND due_ms <= ? ORDER BY deliveries.id LIMIT ?",
            (now_ms, BATCH),
        ).fetchall()
    if held.shuffle:
        random.shuffle(rows)
    return [_signed(number, json.loads(data), held) for number, data in rows]


def _signed(number: int, event: dict[str, Any], held: WebhookSettings) -> Delivery:
    body = json.dumps(event, indent=2)
    header = stripe.WebhookSignature.generate_signature_header(body, held.secret)
    return Delivery(id=number, url=held.url, body=body.encode(), header=header)


def next_due_ms(store: Store) -> int | None:
    with store.lock:
        row = store.db.execute("SELECT MIN(due_ms) FROM deliveries WHERE state = 'due'").fetchone()
    return None if row is None or row[0] is None else int(row[0])


def report(store: Store, number: int, *, taken: bool, now_ms: int) -> None:
    """Mark a delivery done, or due again; after the last retry it is given up."""
    with store.transaction():
        row = store.db.execute("SELECT attempt FROM deliveries WHERE id = ?", (number,)).fetchone()
        if row is None:
            return
        attempt = int(row[0])
        if taken:
            state, due_ms = "done", now_ms
        elif attempt < len(RETRY_AFTER_MS):
            state, due_ms = "due", now_ms + RETRY_AFTER_MS[attempt]
        else:
            state, due_ms = "failed", now_ms
        store.db.execute(
            "UPDATE deliveries SET state = ?, due_ms = ?, attempt = attempt + 1 WHERE id = ?",
            (state, due_ms, number),
        )


def replay(store: Store, event_id: str) -> None:
    """Queue one more delivery of an event, now."""
    store.db.execute("INSERT INTO deliveries (event, due_ms) VALUES (?, ?)", (event_id, wall_ms()))


def deliver_due(store: Store, send: Callable[[Delivery], bool]) -> int:
    """Send everything that is due through `send`, which says whether it was taken."""
    sent = 0
    for item in due(store, wall_ms()):
        report(store, item.id, taken=send(item), now_ms=wall_ms())
        sent += 1
    return sent
