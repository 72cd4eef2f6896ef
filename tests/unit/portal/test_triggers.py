"""The trigger builders, run on SQLite in memory."""

import sqlite3

import pytest

from portal.models.triggers import append_only_sql, drop_sql, frozen_when_sql


@pytest.fixture
def database() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.execute(
        "CREATE TABLE doc (id INTEGER PRIMARY KEY, body TEXT, owner TEXT, done TEXT)"
    )
    connection.execute("INSERT INTO doc VALUES (1, 'a', 'x', NULL), (2, 'b', 'y', 'yes')")
    return connection


def install(connection: sqlite3.Connection, statements: tuple[str, ...]) -> None:
    for statement in statements:
        connection.execute(statement)


def test_append_only_lets_a_link_become_null_and_nothing_else(
    database: sqlite3.Connection,
) -> None:
    install(
        database,
        append_only_sql(vendor="sqlite", table="doc", columns=["id", "body"], links=["owner"]),
    )
    for change in (
        "UPDATE doc SET body = 'z'",
        "UPDATE doc SET owner = 'z'",
        "DELETE FROM doc",
    ):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            database.execute(change)
    database.execute("UPDATE doc SET owner = NULL")
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        database.execute("UPDATE doc SET owner = 'z'")


def test_frozen_rows_are_those_the_condition_names(database: sqlite3.Connection) -> None:
    install(
        database,
        frozen_when_sql(
            vendor="sqlite", table="doc", when="OLD.done IS NOT NULL", message="it is done"
        ),
    )
    database.execute("UPDATE doc SET body = 'z' WHERE id = 1")
    for change in ("UPDATE doc SET body = 'z' WHERE id = 2", "DELETE FROM doc WHERE id = 2"):
        with pytest.raises(sqlite3.IntegrityError, match="it is done"):
            database.execute(change)
    install(
        database,
        drop_sql(vendor="sqlite", table="doc", names=["doc_frozen_update", "doc_frozen_delete"]),
    )
    database.execute("DELETE FROM doc")
