"""What was issued or frozen is never changed: the database refuses it, whoever asks."""

from django.db import migrations

from portal.models.triggers import drop_sql, migration_step, refuse_sql

_INVOICE = "billing_invoice"
_LINE = "billing_invoiceline"
_DRAW = "billing_creditdraw"
_SNAPSHOT = "billing_usagesnapshot"
_NOTE = "billing_creditnote"
_NOTE_LINE = "billing_creditnoteline"

_FROZEN_COLUMNS = [
    "id",
    "organization_id",
    "subscription_id",
    "period_id",
    "plan_version_id",
    "n",
    "kind",
    "currency",
    "service_from",
    "service_to",
    "subtotal_minor",
    "discount_minor",
    "adjustment_minor",
    "credit_minor",
    "tax_minor",
    "total_minor",
    "tax_rate_percent",
    "engine_version",
    "content_hash",
    "subtracts_hash",
    "revision",
    "created_at",
    "rated_at",
    "approved_at",
    "approved_hash",
]
_OPEN = "('draft', 'held')"
_PARENT_OPEN = "EXISTS (SELECT 1 FROM billing_invoice i WHERE i.id = {row}.invoice_id AND i.state NOT IN ('draft', 'held'))"


def _changed(columns: "list[str]") -> str:
    return " OR ".join(f"OLD.{c} <> NEW.{c}" for c in columns)


def _guards() -> "list[tuple[str, str, str, str, str]]":
    """(name, table, event, when, message)"""
    issued = "an approved invoice is not edited; correct it with a credit note"
    return [
        (
            "billing_invoice_frozen",
            _INVOICE,
            "UPDATE",
            f"OLD.state NOT IN {_OPEN} AND OLD.state <> 'approved' AND "
            f"({_changed(_FROZEN_COLUMNS)} OR NEW.state IN ('draft', 'held', 'approved'))",
            issued,
        ),
        (
            "billing_invoice_number_kept",
            _INVOICE,
            "UPDATE OF number",
            "OLD.number IS NOT NULL AND (NEW.number IS NULL OR NEW.number <> OLD.number)",
            "an invoice keeps its number",
        ),
        (
            "billing_invoice_pdf_kept",
            _INVOICE,
            "UPDATE OF pdf",
            "OLD.pdf IS NOT NULL AND (NEW.pdf IS NULL OR NEW.pdf <> OLD.pdf)",
            "a stored document is kept as it is",
        ),
        (
            "billing_invoice_no_delete",
            _INVOICE,
            "DELETE",
            f"OLD.state NOT IN {_OPEN}",
            issued,
        ),
        *(
            (f"{table}_{event.lower()}", table, event, _PARENT_OPEN.format(row=row), issued)
            for table in (_LINE, _DRAW)
            for event, row in (("INSERT", "NEW"), ("UPDATE", "OLD"), ("DELETE", "OLD"))
        ),
        (f"{_SNAPSHOT}_no_update", _SNAPSHOT, "UPDATE", "", "a usage snapshot is never changed"),
        (f"{_SNAPSHOT}_no_delete", _SNAPSHOT, "DELETE", "", "a usage snapshot is kept"),
        (f"{_NOTE}_no_delete", _NOTE, "DELETE", "", "a credit note is kept"),
        (
            f"{_NOTE}_frozen",
            _NOTE,
            "UPDATE",
            _changed(
                ["id", "invoice_id", "number", "goodwill", "reason", "total_minor", "created_at"]
            ),
            "a credit note is never changed",
        ),
        (f"{_NOTE_LINE}_no_update", _NOTE_LINE, "UPDATE", "", "a credit note is never changed"),
        (f"{_NOTE_LINE}_no_delete", _NOTE_LINE, "DELETE", "", "a credit note is kept"),
    ]


def _install(vendor: str) -> "list[str]":
    return [
        statement
        for name, table, event, when, message in _guards()
        for statement in _one(vendor, name, table, event, when, message)
    ]


def _one(
    vendor: str, name: str, table: str, event: str, when: str, message: str
) -> "tuple[str, ...]":
    if vendor != "sqlite" and "SELECT" in when:
        return _postgres_with_query(name, table, event, when, message)
    return refuse_sql(
        vendor=vendor, name=name, table=table, event=event, when=when, message=message
    )


def _postgres_with_query(
    name: str, table: str, event: str, when: str, message: str
) -> "tuple[str, ...]":
    """PostgreSQL allows no subquery in WHEN: the condition moves into a function of its own."""
    row = "OLD" if event == "DELETE" else "NEW"
    return (
        f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF {when} THEN RAISE EXCEPTION '{message}' USING ERRCODE = 'restrict_violation'; "
        f"END IF; RETURN {row}; END $$",
        f"CREATE TRIGGER {name} BEFORE {event} ON {table} FOR EACH ROW EXECUTE FUNCTION {name}()",
    )


def _remove(vendor: str) -> "list[str]":
    return [
        statement
        for name, table, *_ in _guards()
        for statement in drop_sql(vendor=vendor, table=table, names=[name])
    ]


class Migration(migrations.Migration):
    dependencies = [("billing", "0001_initial")]
    operations = [
        migrations.RunPython(migration_step(_install), migration_step(_remove)),
    ]
