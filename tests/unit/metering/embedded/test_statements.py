"""What the embedded endpoint runs and what it refuses, by the text of the statement."""

import pytest

from metering.embedded.statements import refuse, result_format, split_insert

FUNCTIONS = {"file", "url", "s3", "iceberg", "numbers", "view"}


def refused(sql: str, *, read_only: bool = False) -> int:
    refusal = refuse(sql, read_only=read_only, table_functions=FUNCTIONS)
    return refusal.code if refusal else 0


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "select count() from access_log final where api = {api:String}",
        "WITH 1 AS x SELECT x",
        "SELECT 'file(' , \"a\", `b` FROM t -- file(\n",
        "SELECT file FROM t",
        "SELECT /* url( */ 1",
        "SELECT * FROM numbers(3);",
        "SHOW TABLES",
        "DESCRIBE TABLE t",
        "EXPLAIN SELECT 1",
        "SELECT uniqExact(stream, seq), quantities['requests'] FROM access_log",
    ],
)
def test_reads_are_for_everyone(sql: str) -> None:
    assert refused(sql, read_only=True) == 0


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t VALUES (1)",
        "CREATE TABLE t (a Int8) ENGINE = MergeTree ORDER BY a",
        "DROP TABLE t",
        "ALTER TABLE t DELETE WHERE 1",
        "OPTIMIZE TABLE t FINAL",
        "TRUNCATE TABLE t",
    ],
)
def test_writes_are_for_the_writer(sql: str) -> None:
    assert refused(sql) == 0
    assert refused(sql, read_only=True) == 164


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM file('/etc/passwd', 'LineAsString')",
        "SELECT * FROM FILE ('x')",
        "SELECT * FROM `file`('x')",
        "SELECT * FROM \"url\"('http://x')",
        "SELECT * FROM file/* */('x')",
        "SELECT * FROM file -- c\n ('x')",
        "SELECT file('/etc/passwd')",
        "SELECT * FROM iceberg('x')",
        "SELECT * FROM remote('h', 'system.one')",
        "SELECT * FROM mysql('h', 'd', 't', 'u', 'p')",
        "SELECT * FROM merge('default', '.*')",
        "SELECT aiGenerate('x')",
        "SELECT 1 INTO OUTFILE '/tmp/x'",
        "INSERT INTO t FROM INFILE 'x' FORMAT CSV",
        "INSERT INTO FUNCTION file('x') SELECT 1",
        "INSERT INTO TABLE FUNCTION null('x') SELECT 1",
        "CREATE TABLE t (a Int8) ENGINE = File(CSV)",
        "CREATE TABLE t (a Int8) ENGINE URL('http://x', CSV)",
        "CREATE TABLE t (a Int8) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type = web)",
        "CREATE TABLE t ENGINE = Memory AS SELECT * FROM s3('x')",
        "CREATE DATABASE d ENGINE = MySQL('h', 'd', 'u', 'p')",
        "CREATE DICTIONARY d (a UInt8) PRIMARY KEY a SOURCE(HTTP(URL 'x')) LAYOUT(FLAT())",
        "CREATE FUNCTION f AS x -> x",
        "CREATE USER u",
        "ATTACH TABLE t",
        "BACKUP TABLE t TO File('x')",
        "SYSTEM SHUTDOWN",
        "SET readonly = 0",
        "USE default",
        "SELECT * FROM {t:Identifier}",
        "SELECT * FROM { t : identifier }",
    ],
)
def test_what_reaches_beyond_is_refused_to_the_writer_too(sql: str) -> None:
    assert refused(sql) == 497


@pytest.mark.parametrize(
    ("case", "sql"),
    [
        ("nothing", " -- only a comment"),
        ("two statements", "SELECT 1; DROP TABLE t"),
        ("heredoc that hides a quote", "SELECT $a$'$a$, file('x') --'"),
        ("curly quotes that hide one", "SELECT \u2018'\u2019, file('x') --'"),
        ("nested comment that hides one", "SELECT /* /* */ ' */ file('x') --'"),
        ("open string", "SELECT 'abc"),
        ("escape of the same letter", r"SELECT * FROM `fi\le`('x')"),
        ("escape that spells one", r"SELECT `\x66ile`('/etc/passwd')"),
        ("escape in double quotes", r"""SELECT "\x66ile"('/etc/passwd')"""),
        ("comment of another dialect", "SELECT 1 // '\n, file('x') --'"),
    ],
)
def test_syntax_that_two_lexers_may_read_differently_is_refused(case: str, sql: str) -> None:
    assert refused(sql) == 62


@pytest.mark.parametrize(
    ("body", "data"),
    [
        (b'INSERT INTO t FORMAT JSONEachRow\n{"a":1}\n', b'{"a":1}\n'),
        (b"insert into t (a, format) settings x=1 format Native \r\n\x00\xff", b"\x00\xff"),
        (b"INSERT INTO t VALUES (1)", b""),
        (b"INSERT INTO t SELECT 1 FORMAT CSV\n1", b""),
        (b"SELECT 1 FORMAT JSON\n", b""),
        (b"INSERT INTO t /* FORMAT CSV\n */ SELECT * FROM file('x')", b""),
        (b"INSERT INTO t (`FORMAT CSV\n`) SELECT * FROM file('x')", b""),
    ],
)
def test_an_inserts_data_is_cut_off_only_where_the_engine_does(body: bytes, data: bytes) -> None:
    head, rest = split_insert(body)
    assert head + rest == body
    assert rest == data


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT 1", "TabSeparated"),
        ("SELECT 1 FORMAT JSON SETTINGS max_threads = 1", "JSON"),
        ("SELECT 'x FORMAT CSV'", "TabSeparated"),
        ("DROP TABLE t", None),
        ("INSERT INTO t FORMAT Native\n", None),
    ],
)
def test_the_result_format_is_what_the_engine_will_use(sql: str, expected: str | None) -> None:
    assert result_format(sql, default="TabSeparated") == expected
