"""Credit notes with states and totals, ledger movements, disputes; their frozen rows.

SQLite makes a table anew to add a column and loses its triggers (and stumbles over those of
others that name it): all of billing's are taken away first and installed again at the end.
"""

from importlib import import_module

import django.db.models.deletion
import portal.models.fields
from django.conf import settings
from django.db import migrations, models

from portal.models.triggers import append_only_sql, drop_sql, migration_step

_earlier = import_module("billing.migrations.0002_frozen_rows")
_NOTE = "billing_creditnote"
_NOTE_LINE = "billing_creditnoteline"
_RETURN = "billing_creditreturn"
_MOVEMENT = "billing_ledgermovement"
_KEPT = "a credit note is kept as it was issued"
_NOTE_COLUMNS = [
    "id",
    "invoice_id",
    "goodwill",
    "reason_code",
    "reason",
    "settlement",
    "subtotal_minor",
    "credit_minor",
    "tax_minor",
    "absorbed_minor",
    "total_minor",
    "content_hash",
    "subtracts_hash",
    "created_at",
    "approved_at",
    "approved_hash",
]
_MOVEMENT_COLUMNS = [
    "id",
    "organization_id",
    "invoice_id",
    "credit_note_id",
    "key",
    "kind",
    "debit",
    "credit",
    "amount_minor",
    "currency",
    "at",
]


def _quoted(column: "str") -> "str":
    return f'"{column}"'


_PARENT_FIXED = "EXISTS (SELECT 1 FROM billing_creditnote n WHERE n.id = {row}.credit_note_id AND n.state NOT IN ('draft', 'approved'))"


def _guards() -> "list[tuple[str, str, str, str, str]]":
    """(name, table, event, when, message); the note's replace those of the migration before."""
    changed = " OR ".join(f"OLD.{c} <> NEW.{c}" for c in _NOTE_COLUMNS)
    open_states = "('draft', 'approved')"
    return [
        (
            f"{_NOTE}_frozen",
            _NOTE,
            "UPDATE",
            f"OLD.state NOT IN {open_states} AND ({changed} OR NEW.state IN "
            f"('draft', 'approved', 'void') OR (OLD.state = 'issued' AND NEW.state <> 'issued'))",
            _KEPT,
        ),
        (
            f"{_NOTE}_number_kept",
            _NOTE,
            "UPDATE",
            "OLD.number IS NOT NULL AND (NEW.number IS NULL OR NEW.number <> OLD.number)",
            _KEPT,
        ),
        (
            f"{_NOTE}_pdf_kept",
            _NOTE,
            "UPDATE",
            "OLD.pdf IS NOT NULL AND (NEW.pdf IS NULL OR NEW.pdf <> OLD.pdf)",
            _KEPT,
        ),
        (f"{_NOTE}_no_delete", _NOTE, "DELETE", f"OLD.state NOT IN {open_states}", _KEPT),
        *(
            (f"{table}_{event.lower()}", table, event, _PARENT_FIXED.format(row=row), _KEPT)
            for table in (_NOTE_LINE, _RETURN)
            for event, row in (("INSERT", "NEW"), ("UPDATE", "OLD"), ("DELETE", "OLD"))
        ),
    ]


def _replaced(guard: "tuple[str, str, str, str, str]") -> "bool":
    return guard[1] in {_NOTE, _NOTE_LINE}


def _before(vendor: "str") -> "list[str]":
    return list(_earlier._remove(vendor))


def _before_again(vendor: "str") -> "list[str]":
    return list(_earlier._install(vendor))


def _install(vendor: "str") -> "list[str]":
    kept = [guard for guard in _earlier._guards() if not _replaced(guard)]
    return [
        statement for guard in [*kept, *_guards()] for statement in _earlier._one(vendor, *guard)
    ] + list(
        append_only_sql(
            vendor=vendor, table=_MOVEMENT, columns=[_quoted(c) for c in _MOVEMENT_COLUMNS]
        )
    )


def _remove(vendor: "str") -> "list[str]":
    kept = [guard for guard in _earlier._guards() if not _replaced(guard)]
    return [
        statement
        for name, table, *_ in [*kept, *_guards()]
        for statement in drop_sql(vendor=vendor, table=table, names=[name])
    ] + list(
        drop_sql(
            vendor=vendor,
            table=_MOVEMENT,
            names=[f"{_MOVEMENT}_no_delete", f"{_MOVEMENT}_no_update"],
        )
    )


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0002_frozen_rows"),
        ("portal", "0003_threshold_amounts"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.RunPython(migration_step(_before), migration_step(_before_again)),
        migrations.CreateModel(
            name="CreditReturn",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("amount_minor", models.BigIntegerField()),
            ],
        ),
        migrations.CreateModel(
            name="Dispute",
            fields=[
                (
                    "id",
                    portal.models.fields.IdField(
                        editable=False,
                        max_length=40,
                        prefix="dsp",
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("remote_id", models.CharField(max_length=120, unique=True)),
                ("charge_id", models.CharField(max_length=120)),
                ("amount_minor", models.BigIntegerField()),
                ("currency", models.CharField(max_length=3)),
                ("reason", models.CharField(max_length=60)),
                ("status", models.CharField(max_length=30)),
                ("evidence_due_at", models.DateTimeField(blank=True, null=True)),
                ("opened_at", models.DateTimeField()),
                ("closed_at", models.DateTimeField(blank=True, null=True)),
            ],
        ),
        migrations.CreateModel(
            name="LedgerMovement",
            fields=[
                (
                    "id",
                    portal.models.fields.IdField(
                        editable=False,
                        max_length=40,
                        prefix="mv",
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("key", models.CharField(max_length=160, unique=True)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("note_applied", "Credit note, not due any more"),
                            ("note_balance", "Credit note to the customer balance"),
                            ("note_refund", "Credit note to be refunded"),
                            ("refund", "Refund"),
                            ("refund_failed", "Refund came back"),
                            ("dispute_opened", "Disputed, withdrawn"),
                            ("dispute_won", "Dispute won, returned"),
                            ("dispute_lost", "Dispute lost"),
                        ],
                        max_length=16,
                    ),
                ),
                ("debit", models.CharField(max_length=20)),
                ("credit", models.CharField(max_length=20)),
                ("amount_minor", models.PositiveBigIntegerField()),
                ("currency", models.CharField(max_length=3)),
                ("at", models.DateTimeField()),
            ],
        ),
        migrations.AddField(
            model_name="creditnote",
            name="absorbed_minor",
            field=models.BigIntegerField(default=0),
        ),
        migrations.AddField(
            model_name="creditnote",
            name="alarm",
            field=models.CharField(blank=True, default="", max_length=500),
        ),
        migrations.AddField(
            model_name="creditnote",
            name="applied_minor",
            field=models.BigIntegerField(default=0),
        ),
        migrations.AddField(
            model_name="creditnote",
            name="approved_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="creditnote",
            name="approved_by",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="approved_credit_notes",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="creditnote",
            name="approved_hash",
            field=models.CharField(blank=True, default="", max_length=64),
        ),
        migrations.AddField(
            model_name="creditnote",
            name="content_hash",
            field=models.CharField(default="", max_length=64),
        ),
        migrations.AddField(
            model_name="creditnote",
            name="credit_minor",
            field=models.BigIntegerField(default=0),
        ),
        migrations.AddField(
            model_name="creditnote",
            name="issued_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="creditnote",
            name="pdf",
            field=models.BinaryField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="creditnote",
            name="reason_code",
            field=models.CharField(
                choices=[
                    ("usage_corrected", "Usage corrected"),
                    ("price_corrected", "Price corrected"),
                    ("duplicate", "Billed twice"),
                    ("outage", "Service outage"),
                    ("agreement", "Agreed with the customer"),
                    ("other", "Other"),
                ],
                default="other",
                max_length=20,
            ),
        ),
        migrations.AddField(
            model_name="creditnote",
            name="settlement",
            field=models.CharField(
                choices=[("balance", "Customer balance"), ("refund", "Refund to the card")],
                default="balance",
                max_length=8,
            ),
        ),
        migrations.AddField(
            model_name="creditnote",
            name="state",
            field=models.CharField(
                choices=[
                    ("draft", "Draft"),
                    ("approved", "Approved"),
                    ("issuing", "Issuing"),
                    ("issued", "Issued"),
                    ("void", "Void"),
                ],
                default="draft",
                max_length=10,
            ),
        ),
        migrations.AddField(
            model_name="creditnote",
            name="subtotal_minor",
            field=models.BigIntegerField(default=0),
        ),
        migrations.AddField(
            model_name="creditnote",
            name="subtracts_hash",
            field=models.CharField(default="", max_length=64),
        ),
        migrations.AddField(
            model_name="creditnote",
            name="tax_minor",
            field=models.BigIntegerField(default=0),
        ),
        migrations.AddField(
            model_name="creditnote",
            name="void_reason",
            field=models.CharField(blank=True, default="", max_length=300),
        ),
        migrations.AddField(
            model_name="creditnoteline",
            name="description",
            field=models.CharField(default="", max_length=400),
        ),
        migrations.AddField(
            model_name="customeraccount",
            name="generation",
            field=models.PositiveIntegerField(default=0),
        ),
        migrations.AddField(
            model_name="invoice",
            name="credited_minor",
            field=models.BigIntegerField(default=0),
        ),
        migrations.AddField(
            model_name="invoice",
            name="waiting_for",
            field=models.CharField(
                blank=True,
                choices=[
                    ("", "Nothing"),
                    ("card", "A card"),
                    ("action", "The customer's confirmation"),
                ],
                default="",
                max_length=8,
            ),
        ),
        migrations.AlterField(
            model_name="creditnote",
            name="number",
            field=models.CharField(blank=True, max_length=40, null=True, unique=True),
        ),
        migrations.AddIndex(
            model_name="creditnote",
            index=models.Index(
                fields=["state", "created_at"], name="billing_cre_state_dfbd5c_idx"
            ),
        ),
        migrations.AddField(
            model_name="creditreturn",
            name="credit_note",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="credit_returns",
                to="billing.creditnote",
            ),
        ),
        migrations.AddField(
            model_name="creditreturn",
            name="grant",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="returns",
                to="billing.creditgrant",
            ),
        ),
        migrations.AddField(
            model_name="dispute",
            name="invoice",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="disputes",
                to="billing.invoice",
            ),
        ),
        migrations.AddField(
            model_name="dispute",
            name="organization",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="disputes",
                to="portal.organization",
            ),
        ),
        migrations.AddField(
            model_name="ledgermovement",
            name="credit_note",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="movements",
                to="billing.creditnote",
            ),
        ),
        migrations.AddField(
            model_name="ledgermovement",
            name="invoice",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="movements",
                to="billing.invoice",
            ),
        ),
        migrations.AddField(
            model_name="ledgermovement",
            name="organization",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="movements",
                to="portal.organization",
            ),
        ),
        migrations.AddConstraint(
            model_name="creditreturn",
            constraint=models.UniqueConstraint(
                fields=("grant", "credit_note"), name="credit_return_once"
            ),
        ),
        migrations.AddIndex(
            model_name="dispute",
            index=models.Index(
                fields=["status", "opened_at"], name="billing_dis_status_fead06_idx"
            ),
        ),
        migrations.AddIndex(
            model_name="ledgermovement",
            index=models.Index(fields=["invoice", "at"], name="billing_led_invoice_f33347_idx"),
        ),
        migrations.RunPython(migration_step(_install), migration_step(_remove)),
    ]
