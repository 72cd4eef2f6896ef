"""The ClickHouse client of metering: clickhouse-connect over HTTP, made thin.

One class serves sink, migrations and queries, against a real server and the embedded endpoint
alike. It connects on first use, is safe to share between threads (no session), and tells two
failures apart: ClickHouse does not answer (`MeteringUnavailableError`, try again), and ClickHouse
answers that it will not take these lines (`LinesRefusedError`, trying again is pointless).
"""

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError
from urllib3.exceptions import HTTPError

from metering.errors import MeteringUnavailableError

CONNECT_TIMEOUT_S: Final = 5
READ_TIMEOUT_S: Final = 30
CHUNK_BYTES: Final = 256 * 1024
INSERT_SETTINGS: Final[Mapping[str, str]] = {
    "async_insert": "0",
    "insert_deduplicate": "1",
    "deduplicate_blocks_in_dependent_materialized_views": "1",
    "date_time_input_format": "best_effort",
    "input_format_skip_unknown_fields": "0",
    "input_format_null_as_default": "0",
    "input_format_allow_errors_num": "0",
    "input_format_parallel_parsing": "0",
    "max_insert_block_size": "1048576",
    "min_insert_block_size_rows": "1048576",
}
"""One block per insert (one token covers it), written before the answer comes, nothing guessed."""

_REFUSALS: Final = frozenset(
    {6, 25, 26, 27, 32, 33, 38, 41, 53, 69, 70, 72, 117, 130, 131, 321, 349, 407, 469, 691}
)
"""Error codes that are about the data: cannot parse, out of range, constraint violated, …"""

logging.getLogger("clickhouse_connect").setLevel(logging.ERROR)  # failures are ours to report


class LinesRefusedError(Exception):
    """ClickHouse refused the lines of an insert; none of them was taken."""


class ClickHouse:
    """A client for one URL, `http://user:password@host:port/database`."""

    def __init__(self, url: str, *, read_timeout_s: int = READ_TIMEOUT_S) -> None:
        self._parts = urlsplit(url)
        self._read_timeout_s = read_timeout_s
        self._client: Client | None = None
        self._connecting = threading.Lock()

    def rows(
        self, sql: str, parameters: Mapping[str, Any] | None = None, *, rows_max: int = 0
    ) -> Sequence[Sequence[Any]]:
        """Return the rows of a query. `rows_max` 0 = the server's own limit.

        :raises MeteringUnavailableError: when no answer comes.
        """
        client = self._connected()
        limits = {"max_result_rows": str(rows_max)} if rows_max else {}
        try:
            result = client.query(
                sql, parameters=dict(parameters or {}), settings=_settable(client, limits)
            )
        except ClickHouseError as error:
            raise _unavailable(error) from error
        rows: Sequence[Sequence[Any]] = result.result_rows
        return rows

    def row_blocks(
        self, sql: str, parameters: Mapping[str, Any] | None = None
    ) -> Iterator[Sequence[Sequence[Any]]]:
        """Yield the rows of a query block by block, in bounded memory.

        :raises MeteringUnavailableError: when no answer comes, or it breaks off.
        """
        client = self._connected()
        try:
            with client.query_row_block_stream(sql, parameters=dict(parameters or {})) as stream:
                yield from stream
        except ClickHouseError as error:
            raise _unavailable(error) from error

    def chunks(
        self, sql: str, parameters: Mapping[str, Any], *, output_format: str
    ) -> Iterator[bytes]:
        """Yield the bytes of a query's answer as they come, in bounded memory.

        :raises MeteringUnavailableError: when no answer comes, or it breaks off.
        """
        client = self._connected()
        try:
            with client.raw_stream(sql, parameters=dict(parameters), fmt=output_format) as stream:
                while chunk := stream.read(CHUNK_BYTES):
                    yield chunk
        except (ClickHouseError, HTTPError) as error:
            raise MeteringUnavailableError(str(error)) from error

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a statement without a result.

        :raises MeteringUnavailableError: when it did not run.
        """
        client = self._connected()
        try:
            client.command(sql, parameters=dict(parameters or {}))
        except ClickHouseError as error:
            raise _unavailable(error) from error

    def insert_lines(self, table: str, payload: bytes, *, token: str) -> None:
        """Insert NDJSON as it is, once per token: a repeat with the same token changes nothing.

        :raises LinesRefusedError: when ClickHouse will not take them.
        :raises MeteringUnavailableError: when the outcome is not known; repeat with this token.
        """
        client = self._connected()
        settings = {**INSERT_SETTINGS, "insert_deduplication_token": token}
        try:
            client.raw_insert(
                table,
                insert_block=payload,
                fmt="JSONEachRow",
                settings=_settable(client, settings),
            )
        except DatabaseError as error:
            if error.code in _REFUSALS:
                raise LinesRefusedError(str(error)) from error
            raise _unavailable(error) from error
        except ClickHouseError as error:
            raise _unavailable(error) from error

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _connected(self) -> Client:
        with self._connecting:
            if self._client is None:
                self._client = self._connect()
            return self._client

    def _connect(self) -> Client:
        parts = self._parts
        secure = parts.scheme == "https"
        try:
            client = clickhouse_connect.get_client(
                interface=parts.scheme,
                host=parts.hostname or "",
                port=parts.port or (8443 if secure else 8123),
                username=unquote(parts.username or "default"),
                password=unquote(parts.password or ""),
                database=parts.path.lstrip("/") or "tollway",
                connect_timeout=CONNECT_TIMEOUT_S,
                send_receive_timeout=self._read_timeout_s,
                compress=False,
                autogenerate_session_id=False,
                tz_mode="aware",
                show_clickhouse_errors="scrub",
            )
        except ClickHouseError as error:
            raise _unavailable(error) from error
        return client


def _settable(client: Client, settings: Mapping[str, str]) -> dict[str, str]:
    """Leave out what the server does not let this user set (a read-only one has its own caps)."""
    known = client.server_settings
    return {
        name: value
        for name, value in settings.items()
        if name not in known or not known[name].readonly
    }


def _unavailable(error: ClickHouseError) -> MeteringUnavailableError:
    return MeteringUnavailableError(str(error))
