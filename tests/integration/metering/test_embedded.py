"""The embedded endpoint as a process, spoken to by clickhouse-connect and by hand."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import clickhouse_connect
import pytest
import urllib3
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from metering.clickhouse import ClickHouse, LinesRefusedError
from metering.errors import MeteringUnavailableError
from metering.migrate import migrate
from tests.clickhouse import READER_PASSWORD, ROOT, WRITER_PASSWORD, Embedded, start_embedded

NOON = datetime(2026, 3, 1, 12, 0, 0, 5, tzinfo=UTC)


@pytest.fixture
def writer(clickhouse: Embedded) -> Iterator[Client]:
    client = clickhouse_connect.get_client(
        host="127.0.0.1", port=clickhouse.port, username="tollway", password=WRITER_PASSWORD,
        database="tollway",
    )  # fmt: skip
    client.command("DROP TABLE IF EXISTS t")
    client.command(
        "CREATE TABLE t (a UInt64, s String, at DateTime64(6, 'UTC'), CONSTRAINT c CHECK a > 0)"
        " ENGINE = MergeTree ORDER BY a SETTINGS non_replicated_deduplication_window = 10"
    )
    yield client
    client.close()


@pytest.fixture
def reader(clickhouse: Embedded) -> Iterator[Client]:
    client = clickhouse_connect.get_client(
        host="127.0.0.1", port=clickhouse.port, username="tollway_reader",
        password=READER_PASSWORD, database="tollway",
    )  # fmt: skip
    yield client
    client.close()


def request(
    server: Embedded, method: str, path: str, *, user: str = "tollway", **more: Any
) -> urllib3.BaseHTTPResponse:
    password = WRITER_PASSWORD if user == "tollway" else READER_PASSWORD
    headers = {"X-ClickHouse-User": user, "X-ClickHouse-Key": password, **more.pop("headers", {})}
    return urllib3.request(
        method, f"http://127.0.0.1:{server.port}{path}", headers=headers, **more
    )


def test_native_insert_and_query_with_bound_parameters(writer: Client, reader: Client) -> None:
    rows = [[1, "x", NOON], [2, "tab\t'quote\\", NOON]]
    writer.insert("t", rows, column_names=["a", "s", "at"])
    result = reader.query(
        "SELECT a, s, at FROM t WHERE s = {s:String} AND at = {at:DateTime64(6)}",
        parameters={"s": "tab\t'quote\\", "at": NOON},
    )
    assert result.result_rows == [(2, "tab\t'quote\\", NOON.replace(tzinfo=None))]


def test_raw_insert_with_a_token_counts_once(writer: Client) -> None:
    for _ in range(3):
        writer.raw_insert(
            "t",
            insert_block=b'{"a":3}\n{"a":4}\n',
            fmt="JSONEachRow",
            settings={"insert_deduplication_token": "r1"},
        )
    assert writer.command("SELECT count() FROM t") == 2


def test_raw_query_column_probe_and_empty_result(writer: Client) -> None:
    assert writer.raw_query("SELECT 1 AS x", fmt="JSONEachRow") == b'{"x":1}\n'
    assert writer.query("SELECT a, s FROM t LIMIT 0").column_names == ("a", "s")
    assert writer.query("SELECT a FROM t").result_rows == []
    assert writer.command("SELECT a FROM t") == ""


def test_a_violated_constraint_is_an_error_and_inserts_nothing(writer: Client) -> None:
    with pytest.raises(DatabaseError, match="VIOLATED_CONSTRAINT"):
        writer.raw_insert("t", insert_block=b'{"a":5}\n{"a":0}\n', fmt="JSONEachRow")
    assert writer.command("SELECT count() FROM t") == 0


def test_the_reader_cannot_write_or_change_settings(writer: Client, reader: Client) -> None:
    for sql in ("INSERT INTO t (a) VALUES (1)", "DROP TABLE t", "CREATE TABLE u (a Int8)"):
        with pytest.raises(DatabaseError, match="READONLY"):
            reader.command(sql)
    with pytest.raises(DatabaseError, match="READONLY"):
        reader.query("SELECT 1 SETTINGS readonly = 0")
    assert writer.command("SELECT count() FROM t") == 0


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM file('{path}', 'LineAsString')",
        "SELECT file('{path}')",
        "SELECT * FROM '{path}'",
        "SELECT * FROM default.`{path}`",
        "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
        r"SELECT `\x66ile`('{path}')",
    ],
)
def test_nobody_reads_files_or_the_network(
    sql: str, writer: Client, reader: Client, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("1,2\n")
    for client in (writer, reader):
        with pytest.raises(DatabaseError, match=r"ACCESS_DENIED|UNKNOWN_TABLE|SYNTAX_ERROR"):
            client.query(sql.format(path=secret))


def test_nobody_writes_files(writer: Client, reader: Client, tmp_path: Path) -> None:
    for client in (writer, reader):
        with pytest.raises(DatabaseError, match="ACCESS_DENIED"):
            client.command(f"SELECT 1 INTO OUTFILE '{tmp_path}/out'")
    assert not (tmp_path / "out").exists()


def test_a_get_is_read_only_for_the_writer_too(clickhouse: Embedded) -> None:
    answer = request(clickhouse, "GET", "/?query=DROP+TABLE+access_log")
    assert (answer.status, answer.headers["X-ClickHouse-Exception-Code"]) == (403, "164")


def test_query_in_parameter_data_in_body(clickhouse: Embedded, writer: Client) -> None:
    path = "/?query=INSERT+INTO+t+FORMAT+JSONEachRow&database=tollway"
    assert request(clickhouse, "POST", path, body=b'{"a":7}\n').status == 200
    answer = request(clickhouse, "GET", "/?query=SELECT+a+FROM+t&default_format=CSV")
    assert (answer.data, answer.headers["X-ClickHouse-Format"]) == (b"7\n", "CSV")


def test_errors_carry_text_and_code(clickhouse: Embedded) -> None:
    answer = request(clickhouse, "POST", "/", body=b"SELECT * FROM nowhere")
    assert answer.status == 404
    assert answer.headers["X-ClickHouse-Exception-Code"] == "60"
    assert answer.data.startswith(b"Code: 60. DB::Exception: ")


@pytest.mark.parametrize("name", ["tollway", "nobody", ""])
def test_a_wrong_password_or_user_is_refused(name: str, clickhouse: Embedded) -> None:
    headers = {"X-ClickHouse-User": name, "X-ClickHouse-Key": "wrong"}
    answer = request(clickhouse, "POST", "/", body=b"SELECT 1", headers=headers)
    assert (answer.status, answer.headers["X-ClickHouse-Exception-Code"]) == (401, "516")


def test_ping_needs_no_user(clickhouse: Embedded) -> None:
    answer = urllib3.request("GET", f"http://127.0.0.1:{clickhouse.port}/ping")
    assert (answer.status, answer.data) == (200, b"Ok.\n")


def test_a_body_beyond_the_cap_is_refused(clickhouse: Embedded) -> None:
    answer = request(clickhouse, "POST", "/", body=b"x" * (64 * 1024 * 1024 + 1))
    assert answer.status == 413


def test_a_long_query_is_cut_off_by_its_setting(writer: Client) -> None:
    with pytest.raises(DatabaseError, match="TIMEOUT_EXCEEDED"):
        writer.query("SELECT sum(number) FROM numbers(1000000000000)",
                     settings={"max_execution_time": 1})  # fmt: skip


def test_a_second_process_on_the_directory_says_so(tmp_path: Path) -> None:
    server = start_embedded(tmp_path / "data")
    try:
        second = subprocess.run(  # noqa: S603
            [sys.executable, "-m", "metering", "embedded", "--port", "0", "--data",
             str(tmp_path / "data")],
            capture_output=True, text=True, check=False, cwd=ROOT,
            env={"CLICKHOUSE_PASSWORD": "a", "CLICKHOUSE_READER_PASSWORD": "b"},
        )  # fmt: skip
    finally:
        server.stop()
    assert second.returncode == 2
    assert "is open in another process" in second.stderr


def test_data_outlives_kill_and_migrating_twice_is_once(tmp_path: Path) -> None:
    server = start_embedded(tmp_path / "data")
    try:
        client = ClickHouse(server.url_writer)
        assert len(migrate(client)) >= 3
        assert migrate(client) == ()
        line = (
            b'{"v":"v1","stream":"n.b.0","seq":1,"kind":"refusals","admitted_at":'
            b'"2026-03-01T12:00:00.000000Z","finished_at":"2026-03-01T12:00:00.000000Z",'
            b'"node":"n","environment":"live"}\n'
        )
        client.insert_lines("access_log", line, token="t")
        client.close()
    finally:
        server.process.kill()
        server.process.wait()
        server.stop()
    again = start_embedded(tmp_path / "data")
    try:
        client = ClickHouse(again.url_readonly)
        assert client.rows("SELECT stream, seq FROM access_log") == [("n.b.0", 1)]
        client.close()
    finally:
        again.stop()


def test_the_adapter_tells_refused_from_unavailable(clickhouse: Embedded) -> None:
    client = ClickHouse(clickhouse.url_writer)
    with pytest.raises(LinesRefusedError):
        client.insert_lines("access_log", b'{"stream":"s"}\n', token="x")
    with pytest.raises(LinesRefusedError):
        client.insert_lines("access_log", b'{"color":"red"}\n', token="y")
    with pytest.raises(MeteringUnavailableError):
        client.insert_lines("no_such_table", b"{}\n", token="z")
    client.close()
    nobody = ClickHouse("http://tollway:x@127.0.0.1:1/tollway")
    with pytest.raises(MeteringUnavailableError):
        nobody.rows("SELECT 1")
