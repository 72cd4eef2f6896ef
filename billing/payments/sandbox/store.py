"""Keeps the double's objects in SQLite, so that they survive a restart.

One writer at a time: a request is one transaction under one lock. Objects are JSON documents with
the few columns that lists are filtered by; names that begin with an underscore are the double's
own and never leave it. Newest first is the order of `seq`.
"""

import json
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

Document = dict[str, Any]

_BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS objects (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL,
  customer TEXT NOT NULL DEFAULT '', parent TEXT NOT NULL DEFAULT '', created INTEGER NOT NULL,
  data TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS objects_list ON objects (kind, customer, seq);
CREATE INDEX IF NOT EXISTS objects_parent ON objects (kind, parent, seq);
CREATE TABLE IF NOT EXISTS idempotency (
  key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, created INTEGER NOT NULL,
  request_id TEXT NOT NULL, status INTEGER, body TEXT
);
CREATE TABLE IF NOT EXISTS deliveries (
  id INTEGER PRIMARY KEY AUTOINCREMENT, event TEXT NOT NULL, due_ms INTEGER NOT NULL,
  attempt INTEGER NOT NULL DEFAULT 0, state TEXT NOT NULL DEFAULT 'due'
);
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (state, due_ms);
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


class Store:
    """Documents, settings and counters.

    path   None = in memory
    salt   part of every id, so that a new store never repeats the ids of an old one
    """

    def __init__(self, *, path: Path | None, salt: str = "") -> None:
        self.lock = threading.RLock()
        self.db = sqlite3.connect(
            ":memory:" if path is None else path, check_same_thread=False, isolation_level=None
        )
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("PRAGMA synchronous=NORMAL")
        self.db.executescript(_SCHEMA)
        with self.transaction():
            if self.setting("salt") is None:
                fresh = "".join(secrets.choice(_BASE62) for _ in range(8))
                self.setting_put("salt", salt or fresh)

    def close(self) -> None:
        with self.lock:
            self.db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Hold the lock and one transaction; an exception rolls it back."""
        with self.lock:
            self.db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self.db.execute("ROLLBACK")
                raise
            self.db.execute("COMMIT")

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Undo only what is written inside when it raises."""
        self.db.execute("SAVEPOINT step")
        try:
            yield
        except BaseException:
            self.db.execute("ROLLBACK TO step")
            self.db.execute("RELEASE step")
            raise
        self.db.execute("RELEASE step")

    # settings and ids

    def setting(self, name: str) -> Any:
        row = self.db.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
        return None if row is None else json.loads(row[0])

    def setting_put(self, name: str, value: Any) -> None:
        self.db.execute(
            "INSERT INTO settings VALUES (?, ?) "
            "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (name, json.dumps(value)),
        )

    def new_id(self, prefix: str) -> str:
        """Return `prefix_…`: the store's salt and a count, so a test meets the same ids again."""
        count = int(self.setting("count") or 0) + 1
        self.setting_put("count", count)
        digits = ""
        while count:
            count, digit = divmod(count, 62)
            digits = _BASE62[digit] + digits
        return f"{prefix}_{self.setting('salt')}{digits:0>8}"

    # documents

    def add(self, kind: str, data: Document, *, customer: str = "", parent: str = "") -> Document:
        self.db.execute(
            "INSERT INTO objects (id, kind, customer, parent, created, data) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (data["id"], kind, customer, parent, data.get("created", 0), json.dumps(data)),
        )
        return data

    def save(self, data: Document) -> Document:
        self.db.execute("UPDATE objects SET data = ? WHERE id = ?", (json.dumps(data), data["id"]))
        return data

    def remove(self, object_id: str) -> None:
        self.db.execute("DELETE FROM objects WHERE id = ?", (object_id,))

    def get(self, kind: str, object_id: str) -> Document | None:
        row = self.db.execute(
            "SELECT data FROM objects WHERE id = ? AND kind = ?", (object_id, kind)
        ).fetchone()
        return None if row is None else json.loads(row[0])

    def any_kind(self, object_id: str) -> tuple[str, Document] | None:
        row = self.db.execute(
            "SELECT kind, data FROM objects WHERE id = ?", (object_id,)
        ).fetchone()
        return None if row is None else (row[0], json.loads(row[1]))

    def newest_first(
        self, kind: str, *, customer: str | None = None, parent: str | None = None
    ) -> list[Document]:
        query, values = "SELECT data FROM objects WHERE kind = ?", [kind]
        if customer is not None:
            query, values = query + " AND customer = ?", [*values, customer]
        if parent is not None:
            query, values = query + " AND parent = ?", [*values, parent]
        rows = self.db.execute(query + " ORDER BY seq DESC", values)
        return [json.loads(row[0]) for row in rows]

    def counts(self) -> dict[str, int]:
        rows = self.db.execute("SELECT kind, COUNT(*) FROM objects GROUP BY kind ORDER BY kind")
        return dict(rows.fetchall())
