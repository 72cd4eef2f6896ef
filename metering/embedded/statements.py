"""Which SQL the embedded endpoint runs for whom. Pure: text in, a refusal or None out.

The engine runs inside our process with all of its rights, and in the library build it knows no
users: `readonly` refuses writes but not `INTO OUTFILE` and not `file()` (seen with chDB 4.4). So
the text itself is judged, by tokens, before the engine sees it: one statement, a known verb, no
function or engine that reaches files or the network, no identifier bound by parameter.

Doubt is refused: this serves one product's own queries, not strangers.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

READ_VERBS: Final = frozenset(
    {"select", "with", "show", "describe", "desc", "explain", "exists", "("}
)
WRITE_VERBS: Final = READ_VERBS | {
    "insert", "create", "alter", "drop", "truncate", "optimize", "rename", "exchange", "delete",
    "update", "check",
}  # fmt: skip
HARMLESS_TABLE_FUNCTIONS: Final = frozenset(
    {
        "numbers", "numbers_mt", "zeros", "zeros_mt", "generate_series", "generateseries",
        "generaterandom", "null", "values", "view", "format",
    }
)  # fmt: skip
"""The table functions anyone may use; every other one the engine knows is refused."""
REACHING_FUNCTIONS: Final = frozenset(
    {
        "file", "disk", "url", "urlcluster", "s3", "remote", "remotesecure", "mysql",
        "postgresql", "mongodb", "redis", "sqlite", "jdbc", "odbc", "hdfs", "executable", "python",
        "input", "dictionary", "cluster", "clusterallreplicas", "merge", "loop",
        "catboostevaluate",
        "airedact", "aisimilarity", "aifilter", "aiclassify", "aiembed", "aiextract",
        "aigenerate", "aitranslate",
    }
)  # fmt: skip
"""Refused whether or not the engine lists them as table functions."""
ALLOWED_ENGINES: Final = frozenset(
    {
        "mergetree", "replacingmergetree", "summingmergetree", "aggregatingmergetree", "memory",
        "null", "atomic",
    }
)  # fmt: skip
_CREATABLE: Final = frozenset({"table", "database", "view", "materialized"})
_REFUSED_WORDS: Final = frozenset({"outfile", "infile", "dictionary", "temporary", "parallel"})

_TOKEN: Final = re.compile(
    r"""
    (?P<skip>\s+|--[^\n]*|\#[!\s][^\n]*|/\*(?:(?!/\*).)*?\*/)
  | (?P<string>'(?:[^'\\]|\\.|'')*')
  | (?P<quoted>`(?:[^`\\]|\\.|``)*`|"(?:[^"\\]|\\.|"")*")
  | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<number>\d[\w.]*)
  | (?P<mark>.)
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_LINE_END: Final = re.compile(rb"[ \t\f]*(?:\r?\n)?")
_PLAIN_MARKS: Final = frozenset("()[]{},.:;=<>!+-*/%?|@^")
"""Marks whose meaning the engine's lexer and this one share; a lone quote, `$` (heredocs) and
everything beyond ASCII (the engine knows curly quotes) are refused; so is a quoted identifier with
a backslash, in which the engine reads `\\x66ile` as a name that stands nowhere here."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a statement does not run, with the ClickHouse error code that says so."""

    code: int
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # string, quoted, word, number or mark
    text: str  # lower case; a quoted identifier's without its quotes
    raw: str
    end: int


_END: Final = _Token("mark", "", "", 0)


def _tokens(sql: str) -> Iterator[_Token]:
    for match in _TOKEN.finditer(sql):
        kind = match.lastgroup or "mark"
        if kind == "skip":
            continue
        raw = match.group()
        text = raw[1:-1] if kind == "quoted" else raw
        yield _Token(kind, text.lower(), raw, match.end())


def split_insert(body: bytes) -> tuple[bytes, bytes]:
    """Split `INSERT … FORMAT Name⏎data` into the statement and its data.

    Data stays bytes: it is the caller's, in any format, and is never judged. Everything else comes
    back whole, with no data.

    >>> split_insert(b"INSERT INTO t FORMAT JSONEachRow\\n{}")
    (b'INSERT INTO t FORMAT JSONEachRow\\n', b'{}')
    >>> split_insert(b"SELECT 1")
    (b'SELECT 1', b'')
    """
    tokens = _tokens(body.decode("latin-1"))  # one character per byte, so that places agree
    first = next(tokens, None)
    if first is None or first.text != "insert":
        return body, b""
    depth = 0
    for token in tokens:
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if depth or token.kind != "word":
            continue
        if token.text in {"select", "with", "values", "from"}:
            break
        if token.text == "format":
            name = next(tokens, None)
            gap = _LINE_END.match(body, name.end) if name else None
            return (body[: gap.end()], body[gap.end() :]) if gap else (body, b"")
    return body, b""


def result_format(sql: str, *, default: str) -> str | None:
    """Return the format of a statement's result, None when it has none (DDL, INSERT).

    >>> result_format("SELECT 1 FORMAT JSON", default="TabSeparated")
    'JSON'
    """
    tokens = list(_tokens(sql))
    if not tokens or tokens[0].text not in READ_VERBS | {"check"}:
        return None
    named = [
        follower.raw
        for token, follower in pairwise(tokens)
        if token.kind == follower.kind == "word" and token.text == "format"
    ]
    return named[-1] if named else default


def refuse(sql: str, *, read_only: bool, table_functions: Collection[str] = ()) -> Refusal | None:
    """Judge one statement (an insert's without its data).

    table_functions   what the engine lists, lower case; all but the harmless ones are refused
    """
    tokens = list(_tokens(sql))
    while tokens and tokens[-1].text == ";":
        tokens.pop()
    if not tokens:
        return Refusal(62, "SYNTAX_ERROR", "Empty query")
    if any(token.kind == "mark" and token.text == ";" for token in tokens):
        return Refusal(62, "SYNTAX_ERROR", "Multi-statements are not allowed")
    return (
        _refuse_marks(tokens)
        or _refuse_verb(tokens, read_only=read_only)
        or _refuse_words(tokens)
        or _refuse_functions(tokens, table_functions)
        or _refuse_engines(tokens)
    )


def _refuse_marks(tokens: list[_Token]) -> Refusal | None:
    for token, follower in zip(tokens, [*tokens[1:], _END], strict=True):
        odd = token.kind == "mark" and token.text not in _PLAIN_MARKS
        comment = token.text == "/" and follower.text in {"/", "*"}
        escaped = token.kind == "quoted" and "\\" in token.raw
        if odd or comment or escaped:
            return Refusal(62, "SYNTAX_ERROR", f"Syntax not served here at {token.raw!r}")
    return None


def _refuse_verb(tokens: list[_Token], *, read_only: bool) -> Refusal | None:
    verb = tokens[0].text
    if verb not in WRITE_VERBS:
        return Refusal(497, "ACCESS_DENIED", f"{verb.upper()} is not served here")
    if read_only and verb not in READ_VERBS:
        return Refusal(164, "READONLY", "Cannot execute query in readonly mode")
    if verb == "create":
        what = [token.text for token in tokens[1:4] if token.text not in {"or", "replace"}]
        if not what or what[0] not in _CREATABLE:
            return Refusal(497, "ACCESS_DENIED", "Only tables, views and databases are created")
    return None


def _refuse_words(tokens: list[_Token]) -> Refusal | None:
    for token, follower in zip(tokens, [*tokens[1:], _END], strict=True):
        if token.kind == "word" and token.text in _REFUSED_WORDS:
            return Refusal(497, "ACCESS_DENIED", f"{token.text.upper()} is not served here")
        if token.text == ":" and follower.text == "identifier":
            return Refusal(497, "ACCESS_DENIED", "Identifiers are not bound by parameter here")
    verb, *rest = tokens
    if verb.text == "insert" and "function" in {token.text for token in rest[:3]}:
        return Refusal(497, "ACCESS_DENIED", "INSERT INTO FUNCTION is not served here")
    return None


def _refuse_functions(tokens: list[_Token], table_functions: Collection[str]) -> Refusal | None:
    refused = (REACHING_FUNCTIONS | set(table_functions)) - HARMLESS_TABLE_FUNCTIONS
    for token, follower in pairwise(tokens):
        if token.kind in {"word", "quoted"} and follower.text == "(" and token.text in refused:
            text = f"Function {token.text} reaches beyond this database and is not served here"
            return Refusal(497, "ACCESS_DENIED", text)
    return None


def _refuse_engines(tokens: list[_Token]) -> Refusal | None:
    if tokens[0].text != "create":
        return None
    for i, token in enumerate(tokens[:-1]):
        if token.kind != "word" or token.text != "engine":
            continue
        named = tokens[i + 2] if tokens[i + 1].text == "=" and i + 2 < len(tokens) else None
        engine = named or tokens[i + 1]
        if engine.text not in ALLOWED_ENGINES:
            return Refusal(497, "ACCESS_DENIED", f"Engine {engine.text} is not served here")
    return None
