"""The part of ClickHouse's HTTP interface that clickhouse-connect 1.12 and curl use.

Served: `GET /ping`; `GET` and `POST /` with the query in `query`, in the body, or both (statement
in the parameter, data in the body); `database`, `default_format`, `query_id`, `param_*` binding,
any engine setting as a parameter; multipart forms; request bodies in gzip, deflate and lz4;
`X-ClickHouse-*` answer headers and errors as the server words them.
Not served: sessions (their parameters are taken and have no effect), temporary tables, external
data, roles, compressed answers, progress headers, the native protocol.

A GET is always read-only, as with the real server.
"""

import asyncio
import hmac
import re
import uuid
import zlib
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import lz4.frame
from aiohttp import hdrs, web
from chdb import ChdbError

from metering.embedded.engine import DATABASE, Answer, Engine, Statement, summary_header
from metering.embedded.statements import Refusal, refuse, result_format, split_insert

BODY_BYTES_MAX: Final = 64 * 1024 * 1024
QUERY_TIMEOUT_S: Final = 60
RESULT_BYTES_MAX: Final = 256 * 1024 * 1024
MEMORY_BYTES_MAX: Final = 2 * 1024 * 1024 * 1024

_TRANSPORT: Final = frozenset(
    {
        "query", "database", "default_format", "query_id", "user", "password", "session_id",
        "session_timeout", "session_check", "quota_key", "buffer_size", "wait_end_of_query",
        "client_protocol_version", "role", "send_progress_in_http_headers",
        "http_headers_progress_interval_ms", "enable_http_compression",
        "cancel_http_readonly_queries_on_client_close", "readonly",
    }
)  # fmt: skip
"""Parameters of the transport: read here or without effect here, never passed as settings."""
_NAME: Final = re.compile(r"[a-z][a-z0-9_]*\Z")
_CODE: Final = re.compile(r"Code: (\d+)\.")
_STATUS: Final = {
    62: 400, 36: 400, 115: 400, 457: 400, 27: 400, 117: 400, 469: 400, 6: 400, 26: 400, 33: 400,
    41: 400, 69: 400, 72: 400, 691: 400, 60: 404, 81: 404, 47: 404, 46: 404, 164: 403, 497: 403,
    516: 401, 48: 501, 307: 413, 159: 408, 202: 503,
}  # fmt: skip
_INSERT_DEFAULTS: Final = {"async_insert": "0"}


@dataclass(frozen=True, slots=True)
class User:
    name: str
    password: str = field(repr=False)
    read_only: bool


class RequestRefusedError(Exception):
    """The request is answered with a ClickHouse error of this code."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.text)
        self.refusal = refusal


def _refused(code: int, name: str, text: str) -> RequestRefusedError:
    return RequestRefusedError(Refusal(code, name, text))


def build_app(engine: Engine, *, users: Mapping[str, User]) -> web.Application:
    """Build the endpoint over an open engine."""
    app = web.Application(client_max_size=BODY_BYTES_MAX)
    endpoint = _Endpoint(engine, users)
    app.router.add_get("/ping", endpoint.ping)
    app.router.add_get("/", endpoint.query)
    app.router.add_post("/", endpoint.query)
    return app


class _Endpoint:
    def __init__(self, engine: Engine, users: Mapping[str, User]) -> None:
        self._engine = engine
        self._users = users

    async def ping(self, request: web.Request) -> web.Response:
        return web.Response(text="Ok.\n")

    async def query(self, request: web.Request) -> web.Response:
        query_id = request.query.get("query_id") or str(uuid.uuid4())
        headers = {"X-ClickHouse-Query-Id": query_id, "X-ClickHouse-Timezone": "UTC"}
        try:
            user = self._authenticate(request)
            statement = await self._statement(request, user)
            # The engine has its own limit; this one is the net below it, the query runs on.
            async with asyncio.timeout(QUERY_TIMEOUT_S + 5):
                answer = await self._engine.run(statement)
        except RequestRefusedError as error:
            return _failure(_worded(error.refusal), headers)
        except TimeoutError:
            text = f"Query did not end in {QUERY_TIMEOUT_S} s"
            return _failure(_worded(Refusal(159, "TIMEOUT_EXCEEDED", text)), headers)
        except ChdbError as error:
            return _failure(str(error), headers)
        return _success(statement, answer, headers)

    def _authenticate(self, request: web.Request) -> User:
        name, password = _credentials(request)
        user = self._users.get(name)
        known = hmac.compare_digest((user.password if user else "").encode(), password.encode())
        if user is None or not known:
            raise _refused(516, "AUTHENTICATION_FAILED", f"{name}: Authentication failed")
        return user

    async def _statement(self, request: web.Request, user: User) -> Statement:
        parameters = dict(request.query)
        text = await _query_text(request, parameters)
        head, data = split_insert(text)
        sql = head.decode(errors="replace")
        read_only = user.read_only or request.method == hdrs.METH_GET
        refusal = refuse(sql, read_only=read_only, table_functions=self._engine.table_functions)
        if refusal is not None:
            raise RequestRefusedError(refusal)
        settings = _settings(parameters, user)
        output_format = result_format(sql, default=_default_format(request, parameters))
        return Statement(
            text=head + data,
            output_format=output_format or "Null",
            database=_database(parameters),
            settings=settings,
            params={k[6:]: v for k, v in parameters.items() if k.startswith("param_")},
            read_only=read_only,
        )


def _credentials(request: web.Request) -> tuple[str, str]:
    basic = request.headers.get(hdrs.AUTHORIZATION, "")
    if basic.lower().startswith("basic "):
        try:
            name, _, password = b64decode(basic[6:], validate=True).decode().partition(":")
        except ValueError as error:
            raise _refused(516, "AUTHENTICATION_FAILED", "Broken credentials") from error
        return name, password
    if "X-ClickHouse-User" in request.headers:
        return request.headers["X-ClickHouse-User"], request.headers.get("X-ClickHouse-Key", "")
    return request.query.get("user", "default"), request.query.get("password", "")


async def _query_text(request: web.Request, parameters: dict[str, str]) -> bytes:
    """Put the query together: the parameter first, the body behind it, as the server does."""
    if request.content_type.startswith(("multipart/", "application/x-www-form-urlencoded")):
        for name, value in (await request.post()).items():
            if not isinstance(value, str):
                raise _refused(48, "NOT_IMPLEMENTED", "External data is not served here")
            parameters[name] = value
        return parameters.get("query", "").encode()
    body = await _body(request)
    query = parameters.get("query", "").encode()
    return query + b"\n" + body if query and body else query or body


async def _body(request: web.Request) -> bytes:
    try:
        body = await request.read()  # aiohttp undoes gzip and deflate itself
    except web.HTTPRequestEntityTooLarge as error:
        text = f"Body is larger than {BODY_BYTES_MAX} bytes"
        raise _refused(307, "TOO_MANY_BYTES", text) from error
    encoding = request.headers.get(hdrs.CONTENT_ENCODING, "").lower()
    if encoding in {"", "identity", "gzip", "deflate"}:
        return body
    if encoding != "lz4":
        raise _refused(48, "NOT_IMPLEMENTED", f"Content-Encoding {encoding} is not served here")
    try:
        return _inflate_lz4(body)
    except (RuntimeError, EOFError, zlib.error) as error:
        raise _refused(117, "INCORRECT_DATA", f"Broken lz4 body: {error}") from error


def _inflate_lz4(body: bytes) -> bytes:
    parts = bytearray()
    while body:
        decompressor = lz4.frame.LZ4FrameDecompressor()
        parts += decompressor.decompress(body, max_length=BODY_BYTES_MAX - len(parts) + 1)
        if len(parts) > BODY_BYTES_MAX:
            raise _refused(307, "TOO_MANY_BYTES", f"Body is larger than {BODY_BYTES_MAX} bytes")
        if not decompressor.eof:
            raise EOFError("frame is cut off")
        body = decompressor.unused_data or b""
    return bytes(parts)


def _database(parameters: Mapping[str, str]) -> str:
    database = parameters.get("database") or DATABASE
    if not _NAME.match(database):
        raise _refused(81, "UNKNOWN_DATABASE", f"Database {database!r} does not exist")
    return database


def _default_format(request: web.Request, parameters: Mapping[str, str]) -> str:
    named = parameters.get("default_format") or request.headers.get("X-ClickHouse-Format") or ""
    return named if named.isalnum() else "TabSeparated"


def _settings(parameters: Mapping[str, str], user: User) -> dict[str, str]:
    chosen = {
        name: value
        for name, value in parameters.items()
        if name not in _TRANSPORT and not name.startswith("param_")
    }
    if parameters.get("compress") == "1" or parameters.get("decompress") == "1":
        raise _refused(48, "NOT_IMPLEMENTED", "Native compression is not served here")
    for name in chosen:
        if not _NAME.match(name):
            raise _refused(115, "UNKNOWN_SETTING", f"Unknown setting {name!r}")
    if user.read_only and chosen:
        text = f"Cannot modify {min(chosen)!r} setting in readonly mode"
        raise _refused(164, "READONLY", text)
    limits = {
        "max_execution_time": _at_most(chosen.get("max_execution_time"), QUERY_TIMEOUT_S),
        "max_result_bytes": _at_most(chosen.get("max_result_bytes"), RESULT_BYTES_MAX),
        "max_memory_usage": _at_most(chosen.get("max_memory_usage"), MEMORY_BYTES_MAX),
    }
    return {**_INSERT_DEFAULTS, **chosen, **limits}


def _at_most(asked: str | None, ceiling: int) -> str:
    wanted = int(asked) if asked and asked.isdecimal() else 0
    return str(min(wanted, ceiling) if wanted else ceiling)


def _worded(refusal: Refusal) -> str:
    return f"Code: {refusal.code}. DB::Exception: {refusal.text}. ({refusal.name})"


def _failure(text: str, headers: Mapping[str, str]) -> web.Response:
    match = _CODE.search(text)
    code = int(match.group(1)) if match else 1002
    return web.Response(
        status=_STATUS.get(code, 500),
        text=text.rstrip() + "\n",
        headers={**headers, "X-ClickHouse-Exception-Code": str(code)},
    )


def _success(statement: Statement, answer: Answer, headers: Mapping[str, str]) -> web.Response:
    more = {"X-ClickHouse-Summary": summary_header(answer)}
    if statement.output_format != "Null":
        more["X-ClickHouse-Format"] = statement.output_format
    text_like = "application/octet-stream" if b"\x00" in answer.body[:64] else "text/plain"
    return web.Response(body=answer.body, content_type=text_like, headers={**headers, **more})
