"""When a snapshot must be built again, and the triggers that keep audit and published plans."""

from django.db import migrations, models

from portal.models.triggers import append_only_sql, drop_sql, frozen_when_sql, migration_step

AUDIT = "portal_auditevent"
AUDIT_COLUMNS = (
    "id",
    "at",
    "actor_label",
    "action",
    "target",
    "before",
    "after",
    "reason",
    "previous_hash",
    "hash",
)
PLAN = "portal_planversion"


def install(vendor: str) -> tuple[str, ...]:
    return append_only_sql(
        vendor=vendor,
        table=AUDIT,
        columns=[f'"{name}"' for name in AUDIT_COLUMNS],
        links=("actor_id", "organization_id"),
    ) + frozen_when_sql(
        vendor=vendor,
        table=PLAN,
        when="OLD.published_at IS NOT NULL",
        message="a published plan version is never changed",
    )


def remove(vendor: str) -> tuple[str, ...]:
    return drop_sql(
        vendor=vendor,
        table=AUDIT,
        names=[f"{AUDIT}_{name}" for name in ("no_delete", "no_update", "no_move")],
    ) + drop_sql(
        vendor=vendor, table=PLAN, names=[f"{PLAN}_frozen_{name}" for name in ("update", "delete")]
    )


class Migration(migrations.Migration):
    dependencies = [("portal", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="snapshotversion",
            name="refresh_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.RunPython(migration_step(install), migration_step(remove)),
    ]
