"""SQL of the triggers that keep rows as they were written, for SQLite and PostgreSQL.

Pure text builders, called from migrations of portal and billing. SQLite rebuilds a table when a
later migration alters one of its columns and drops its triggers with the old one: such a
migration installs them again at its end.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from django.apps.registry import Apps
    from django.db.backends.base.schema import BaseDatabaseSchemaEditor

REFUSE_FUNCTION: Final = (
    "CREATE OR REPLACE FUNCTION tollway_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ "
    "BEGIN RAISE EXCEPTION '%', TG_ARGV[0] USING ERRCODE = 'restrict_violation'; END $$"
)
"""PostgreSQL only; both databases then answer with Django's `IntegrityError`."""


def refuse_sql(
    *, vendor: str, name: str, table: str, event: str, message: str, when: str = ""
) -> tuple[str, ...]:
    """Build the statements of one trigger that refuses `event` on rows for which `when` holds.

    event   `UPDATE`, `UPDATE OF a, b` or `DELETE`
    when    SQL over OLD and NEW that both databases read; empty = always

    >>> refuse_sql(vendor="sqlite", name="t", table="x", event="DELETE", message="kept")
    ("CREATE TRIGGER t BEFORE DELETE ON x BEGIN SELECT RAISE(ABORT, 'kept'); END",)
    """
    if vendor == "sqlite":
        condition = f" WHEN {when}" if when else ""
        return (
            f"CREATE TRIGGER {name} BEFORE {event} ON {table}{condition} "
            f"BEGIN SELECT RAISE(ABORT, '{message}'); END",
        )
    condition = f" WHEN ({when})" if when else ""
    return (
        REFUSE_FUNCTION,
        f"CREATE TRIGGER {name} BEFORE {event} ON {table} "
        f"FOR EACH ROW{condition} EXECUTE FUNCTION tollway_refuse('{message}')",
    )


def append_only_sql(
    *, vendor: str, table: str, columns: Iterable[str], links: Iterable[str] = ()
) -> tuple[str, ...]:
    """Build the triggers of an append-only table.

    columns   never change
    links     foreign keys that may only become null (their target was deleted)
    """
    moved = " OR ".join(
        f"(NEW.{c} IS NOT NULL AND (OLD.{c} IS NULL OR OLD.{c} <> NEW.{c}))" for c in links
    )
    message = f"{table} is append-only"
    statements = refuse_sql(
        vendor=vendor, name=f"{table}_no_delete", table=table, event="DELETE", message=message
    ) + refuse_sql(
        vendor=vendor,
        name=f"{table}_no_update",
        table=table,
        event=f"UPDATE OF {', '.join(columns)}",
        message=message,
    )
    if moved:
        statements += refuse_sql(
            vendor=vendor,
            name=f"{table}_no_move",
            table=table,
            event="UPDATE",
            message=message,
            when=moved,
        )
    return statements


def frozen_when_sql(*, vendor: str, table: str, when: str, message: str) -> tuple[str, ...]:
    """Build the triggers that refuse any change of rows for which `when` (over OLD) holds."""
    return tuple(
        statement
        for event in ("UPDATE", "DELETE")
        for statement in refuse_sql(
            vendor=vendor,
            name=f"{table}_frozen_{event.lower()}",
            table=table,
            event=event,
            message=message,
            when=when,
        )
    )


def drop_sql(*, vendor: str, table: str, names: Iterable[str]) -> tuple[str, ...]:
    """Build the statements that take triggers away again (the reverse of a migration)."""
    on = "" if vendor == "sqlite" else f" ON {table}"
    return tuple(f"DROP TRIGGER IF EXISTS {name}{on}" for name in names)


def migration_step(
    build: Callable[[str], Iterable[str]],
) -> "Callable[[Apps, BaseDatabaseSchemaEditor], None]":
    """Wrap a builder (vendor -> statements) as a `RunPython` function."""

    def run(_apps: "Apps", editor: "BaseDatabaseSchemaEditor") -> None:
        for statement in build(editor.connection.vendor):
            editor.execute(statement, params=None)

    return run
