"""chDB behind a lock: the ClickHouse engine of one data directory, in this process.

One main connection keeps the engine alive; every query gets a connection of its own (about 1 ms),
so that settings of one never reach another, and runs in a small thread pool: queries on different
connections run side by side, on one they queue (measured with chDB 4.4).

Two traps of the library shape this file. Its `default` database is an overlay over the file
system (`SELECT * FROM '/etc/hosts.csv'`), so it is replaced by an empty one at every start. And
its streaming insert swallows what fails behind the parser (a violated constraint reads as
success), so an insert goes as one query, statement and data together.
"""

import asyncio
import fcntl
import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import chdb

_connect: Any = chdb.connect  # typed in some builds of the package, untyped in others

DATABASE: Final = "tollway"
THREADS: Final = 4


class DirectoryBusyError(RuntimeError):
    """Another process has the data directory open."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One query with everything it needs.

    text       statement and, for an insert, its data behind it
    params     server-side binding, name -> value as the HTTP interface would take it
    read_only  runs under the engine's own `readonly = 1` as well
    """

    text: bytes
    output_format: str
    database: str
    settings: Mapping[str, str]
    params: Mapping[str, str]
    read_only: bool


@dataclass(frozen=True, slots=True)
class Answer:
    body: bytes
    read_rows: int
    read_bytes: int
    written_rows: int
    written_bytes: int
    elapsed_ns: int


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


class Engine:
    """The engine of one directory. Open it with `with`; the second opener is refused."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._lock_fd = -1
        self._main: Any = None
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="chdb")
        self.table_functions: frozenset[str] = frozenset()

    def __enter__(self) -> Self:
        self._data_dir.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        self._main = _connect(str(self._data_dir))
        self._main.query("DROP DATABASE IF EXISTS default SYNC")
        self._main.query("CREATE DATABASE default ENGINE = Memory")
        self._main.query(f"CREATE DATABASE IF NOT EXISTS {DATABASE} ENGINE = Atomic")
        names = self._main.query("SELECT lower(name) FROM system.table_functions", "TSV").bytes()
        self.table_functions = frozenset(names.decode().split())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(wait=True)
        if self._main is not None:
            self._main.close()
        os.close(self._lock_fd)

    def _take_lock(self) -> None:
        self._lock_fd = os.open(self._data_dir / "endpoint.lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock_fd)
            msg = f"{self._data_dir} is open in another process; stop that one first."
            raise DirectoryBusyError(msg) from error

    async def run(self, statement: Statement) -> Answer:
        """Run one statement off the loop.

        :raises chdb.ChdbError: with the engine's text, `Code: N. DB::Exception: …`.
        """
        return await asyncio.get_running_loop().run_in_executor(
            self._pool, self._run_here, statement
        )

    def _run_here(self, statement: Statement) -> Answer:
        # Typed str, takes bytes too: data in any format goes through as it is.
        connection: Any = _connect(str(self._data_dir))
        try:
            connection.query(f"USE `{statement.database}`")
            settings = [f"{name} = {_quoted(value)}" for name, value in statement.settings.items()]
            if settings:
                connection.query("SET " + ", ".join(settings))
            if statement.read_only:
                connection.query("SET readonly = 1")
            result = connection.query(
                statement.text, statement.output_format, params=dict(statement.params)
            )
            return Answer(
                body=bytes(result.bytes() or b""),
                read_rows=result.storage_rows_read(),
                read_bytes=result.storage_bytes_read(),
                written_rows=result.rows_written(),
                written_bytes=result.bytes_written(),
                elapsed_ns=int(result.elapsed() * 1_000_000_000),
            )
        finally:
            connection.close()


def summary_header(answer: Answer) -> str:
    """Write `X-ClickHouse-Summary`: counts as strings, as the server does."""
    return json.dumps(
        {
            "read_rows": str(answer.read_rows),
            "read_bytes": str(answer.read_bytes),
            "written_rows": str(answer.written_rows),
            "written_bytes": str(answer.written_bytes),
            "elapsed_ns": str(answer.elapsed_ns),
        },
        separators=(",", ":"),
    )
