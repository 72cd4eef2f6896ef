"""The numbered schema files and what a cluster changes in them."""

from pathlib import Path

import pytest

from metering.migrate import SchemaError, load, render


def test_numbers_start_at_one_and_leave_no_gap() -> None:
    assert [m.version for m in load()] == list(range(1, len(load()) + 1))


def test_one_server_needs_no_cluster_words() -> None:
    for migration in load():
        sql = render(migration.sql, cluster="")
        assert "Replicated" not in sql
        assert "ON CLUSTER" not in sql
        assert "non_replicated_deduplication_window = " in sql


def test_a_cluster_gets_replicated_engines_and_window() -> None:
    for migration in load():
        sql = render(migration.sql, cluster="main")
        assert "ENGINE = ReplicatedReplacingMergeTree" in sql
        assert "ON CLUSTER 'main'" in sql
        assert "non_replicated" not in sql
        assert "replicated_deduplication_window_seconds = 1209600" in sql


def test_a_clusters_name_cannot_carry_sql() -> None:
    with pytest.raises(SchemaError, match="CLICKHOUSE_CLUSTER"):
        render("", cluster="a' SYNC; DROP TABLE t")


@pytest.mark.parametrize("name", ["1_short.sql", "0001_second.sql", "0003-dash.sql"])
def test_a_wrong_file_name_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "0001_a.sql").touch()
    (tmp_path / name).touch()
    with pytest.raises(SchemaError, match=name):
        load(tmp_path)
