"""Remembers what a key was first answered (`stripe.md` §3).

The first status and body are kept, 500s and declined cards too. Nothing is kept of a request that
failed validation or met its running twin. A key with other parameters, another path or verb is an
error. Keys are forgotten after 24 hours.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final

from billing.payments.sandbox.problems import Problem, invalid
from billing.payments.sandbox.store import Store

LIFETIME_S: Final = 86_400
KEY_MAX: Final = 255


@dataclass(frozen=True, slots=True)
class Kept:
    status: int
    body: Any
    request_id: str


def fingerprint(verb: str, path: str, params: Any) -> str:
    text = json.dumps([verb, path, params], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def begin(store: Store, *, key: str, print_: str, request_id: str, now: int) -> Kept | None:
    """Return what is kept under the key, or take the key for this request.

    :raises Problem: 400 for other parameters; 409 while the first request still runs.
    """
    if len(key) > KEY_MAX:
        msg = f"Idempotency keys have up to {KEY_MAX} characters."
        raise invalid(msg)
    store.db.execute("DELETE FROM idempotency WHERE created <= ?", (now - LIFETIME_S,))
    row = store.db.execute(
        "SELECT fingerprint, status, body, request_id FROM idempotency WHERE key = ?", (key,)
    ).fetchone()
    if row is None:
        store.db.execute(
            "INSERT INTO idempotency (key, fingerprint, created, request_id) VALUES (?, ?, ?, ?)",
            (key, print_, now, request_id),
        )
        return None
    if row[0] != print_:
        msg = "Keys for idempotent requests can only be used with the parameters of the first."
        raise Problem(msg, kind="idempotency_error", kept=False)
    if row[1] is None:
        msg = "A request with this idempotency key is still running."
        raise Problem(
            msg, status=409, kind="idempotency_error", code="idempotency_key_in_use", kept=False
        )
    return Kept(status=row[1], body=json.loads(row[2]), request_id=row[3])


def keep(store: Store, *, key: str, status: int, body: Any) -> None:
    store.db.execute(
        "UPDATE idempotency SET status = ?, body = ? WHERE key = ?",
        (status, json.dumps(body), key),
    )


def release(store: Store, *, key: str) -> None:
    """Give up a key that was taken, where nothing is to be kept."""
    store.db.execute("DELETE FROM idempotency WHERE key = ? AND status IS NULL", (key,))


def release_all_running(store: Store) -> None:
    """Give up what a killed process was running: it wrote nothing, one request is one commit."""
    store.db.execute("DELETE FROM idempotency WHERE status IS NULL")


def forget_all(store: Store) -> None:
    store.db.execute("DELETE FROM idempotency")
