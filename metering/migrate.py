"""Brings the ClickHouse schema up to date: the numbered files of `schema/`, each once.

Files are append-only and hold one statement each, written so that running it twice is harmless
(ClickHouse has no transaction around DDL). `schema_migration` remembers what was applied.

One server by default. With `CLICKHOUSE_CLUSTER` set, the tables are replicated: engines become
`Replicated…`, statements run `ON CLUSTER`, and the deduplication window is the replicated one; the
server must define the macros `{shard}` and `{replica}` and the default replica path.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Final

from metering.clickhouse import ClickHouse

SCHEMA_DIR: Final = Path(__file__).parent / "schema"
DEDUP_WINDOW_S: Final = 14 * 24 * 3600
_FILE_NAME: Final = re.compile(r"(\d{4})_(\w+)\.sql")
_APPLIED_TABLE: Final = """
CREATE TABLE IF NOT EXISTS schema_migration $on_cluster
(
    version UInt32,
    name String,
    applied_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
)
ENGINE = ${replicated}ReplacingMergeTree
ORDER BY version
"""


class SchemaError(ValueError):
    """The schema folder or the cluster's name cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Migration:
    version: int
    name: str
    sql: str


def load(folder: Path = SCHEMA_DIR) -> tuple[Migration, ...]:
    """Read the migrations in order.

    :raises SchemaError: for a file that is not named `NNNN_name.sql`, or a number used twice.
    """
    found: dict[int, Migration] = {}
    for path in sorted(folder.glob("*.sql")):
        match = _FILE_NAME.fullmatch(path.name)
        if match is None or int(match[1]) in found:
            msg = f"{path.name}: name it NNNN_name.sql with a number of its own."
            raise SchemaError(msg)
        found[int(match[1])] = Migration(int(match[1]), match[2], path.read_text())
    return tuple(found.values())


def render(sql: str, *, cluster: str) -> str:
    """Fill in what differs between one server and a replicated cluster.

    :raises SchemaError: when the cluster's name is no plain name.

    >>> render("CREATE TABLE t $on_cluster ENGINE = ${replicated}MergeTree", cluster="main")
    "CREATE TABLE t ON CLUSTER 'main' ENGINE = ReplicatedMergeTree"
    """
    if cluster and not re.fullmatch(r"[\w{}-]+", cluster):
        msg = f"CLICKHOUSE_CLUSTER is {cluster!r}; set it to the name of a cluster."
        raise SchemaError(msg)
    prefix = "replicated" if cluster else "non_replicated"
    seconds = f",\n    replicated_deduplication_window_seconds = {DEDUP_WINDOW_S}"
    return Template(sql).substitute(
        on_cluster=f"ON CLUSTER '{cluster}'" if cluster else "",
        replicated="Replicated" if cluster else "",
        dedup_window=f"{prefix}_deduplication_window",
        dedup_seconds=seconds if cluster else "",
    )


def migrate(clickhouse: ClickHouse, *, cluster: str = "") -> tuple[str, ...]:
    """Apply what is missing and return its names; nothing when all is there.

    :raises MeteringUnavailableError: when ClickHouse does not answer; run it again.
    """
    clickhouse.command(render(_APPLIED_TABLE, cluster=cluster))
    applied = {row[0] for row in clickhouse.rows("SELECT version FROM schema_migration")}
    done = []
    for migration in load():
        if migration.version in applied:
            continue
        clickhouse.command(render(migration.sql, cluster=cluster))
        clickhouse.command(
            "INSERT INTO schema_migration (version, name) SELECT {version:UInt32}, {name:String}",
            {"version": migration.version, "name": migration.name},
        )
        done.append(f"{migration.version:04d}_{migration.name}")
    return tuple(done)
