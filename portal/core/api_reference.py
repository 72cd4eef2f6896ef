"""Turns the OpenAPI document into the rows of the reference page: fields, examples, curl. Pure."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

Schema = Mapping[str, Any]
METHODS: Final = ("get", "post", "put", "patch", "delete")
_REF: Final = "#/components/schemas/"
_EXAMPLES: Final = {
    "date-time": "2026-01-31T12:00:00Z",
    "email": "you@example.com",
    "integer": 1,
    "boolean": True,
    "string": "…",
    "object": {},
}


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    type: str
    required: bool
    text: str


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation; `answer` holds the fields of one row where a list is answered.

    media   of the answer; empty = no body
    """

    id: str
    method: str
    path: str
    text: str
    audience: str
    roles: tuple[str, ...]
    query: tuple[Field, ...]
    body: tuple[Field, ...]
    status: str
    media: str
    is_list: bool
    answer: tuple[Field, ...]
    curl: str

    @property
    def scopes(self) -> str:
        """What the token needs, beside `admin` or `finance` for the provider's side."""
        return "read" if self.method == "GET" else "write"


def operations(document: Schema, *, base_url: str) -> tuple[Operation, ...]:
    """Return every operation in the order of its path."""
    names = document["components"]["schemas"]
    return tuple(
        _operation(path, method, held[method], names, base_url)
        for path, held in sorted(document["paths"].items())
        for method in METHODS
        if method in held
    )


def _operation(path: str, method: str, found: Schema, names: Schema, base_url: str) -> Operation:
    sent = found.get("requestBody", {}).get("content", {}).get("application/json", {})
    body = _resolved(sent.get("schema", {}), names)
    status, described = next((k, v) for k, v in found["responses"].items() if k != "default")
    contents: Schema = described.get("content", {})
    media = next(iter(contents), "")
    content = contents.get(media, {})
    row, is_list = _row(content.get("schema", {}), names)
    query = [p for p in found.get("parameters", ()) if p["in"] == "query"]
    return Operation(
        id=found["operationId"],
        method=method.upper(),
        path=path,
        text=found.get("description", ""),
        audience=found["x-audience"],
        roles=tuple(found.get("x-roles", ())),
        query=tuple(_parameter(p, names) for p in query),
        body=tuple(_fields(body, names)),
        status=status,
        media=media,
        is_list=is_list,
        answer=tuple(_fields(row, names)) if media == "application/json" else (),
        curl=_curl(method.upper(), path, found, body, names, base_url),
    )


def _resolved(schema: Schema, names: Schema) -> Schema:
    reference = schema.get("$ref", "")
    return names[reference.removeprefix(_REF)] if reference else schema


def _row(schema: Schema, names: Schema) -> tuple[Schema, bool]:
    """Return the schema of an answer, or that of one row where a page of them is answered."""
    whole = _resolved(schema, names)
    results = whole.get("properties", {}).get("results")
    return (_resolved(results["items"], names), True) if results else (whole, False)


def _parameter(found: Schema, names: Schema) -> Field:
    return Field(
        found["name"],
        type_text(found.get("schema", {}), names),
        found.get("required", False),
        found.get("description", ""),
    )


def _fields(schema: Schema, names: Schema) -> Iterator[Field]:
    required = schema.get("required", ())
    for name, found in schema.get("properties", {}).items():
        text = found.get("description", "")
        yield Field(name, type_text(found, names), name in required, text)


def type_text(schema: Schema, names: Schema) -> str:
    """Say in words what a value is.

    >>> type_text({"type": ["string", "null"], "format": "date-time"}, {})
    'date-time or null'
    >>> type_text({"type": "array", "items": {"enum": ["live", "test"]}}, {})
    'list of live | test'
    >>> row = {"type": "object", "properties": {"id": {"type": "string"}, "n": {}}}
    >>> type_text({"$ref": "#/components/schemas/Row"}, {"Row": row})
    'object {id, n}'
    """
    found = _resolved(schema, names)
    choices = found.get("oneOf") or found.get("anyOf") or found.get("allOf")
    if choices:
        return " or ".join(dict.fromkeys(type_text(choice, names) for choice in choices))
    if "enum" in found:
        return " | ".join(str(value) or '""' for value in found["enum"])
    kinds = found.get("type", "any value")
    listed = [kinds] if isinstance(kinds, str) else kinds
    return " or ".join(_kind_text(kind, found, names) for kind in listed)


def _kind_text(kind: str, found: Schema, names: Schema) -> str:
    if kind == "array":
        return f"list of {type_text(found.get('items', {}), names)}"
    if kind == "object":
        inner, more = found.get("properties"), found.get("additionalProperties")
        if inner:
            return f"object {{{', '.join(inner)}}}"
        return f"object of {type_text(more, names)}" if isinstance(more, dict) else "object"
    return str(found.get("format", kind)) if kind == "string" else kind


def example(schema: Schema, names: Schema) -> Any:
    """Return a value of the right shape: required fields, or all where none is required.

    >>> example({"type": "object", "properties": {"n": {"type": "integer", "minimum": 5}}}, {})
    {'n': 5}
    """
    found = _resolved(schema, names)
    choices = found.get("oneOf") or found.get("anyOf") or found.get("allOf")
    if choices:
        return example(choices[0], names)
    for key in ("default", "minimum"):
        if key in found:
            return found[key]
    if "enum" in found:
        return found["enum"][0]
    kind = found.get("type", "object")
    kind = kind if isinstance(kind, str) else kind[0]
    if kind == "array":
        return [example(found.get("items", {}), names)]
    if kind == "object" and "properties" in found:
        wanted = found.get("required") or list(found["properties"])
        return {name: example(found["properties"][name], names) for name in wanted}
    return _EXAMPLES.get(found.get("format", ""), _EXAMPLES.get(kind))


def _curl(
    method: str, path: str, found: Schema, body: Schema, names: Schema, base_url: str
) -> str:
    """Write the call for a shell: what stands in the path is a variable there."""
    url = base_url + path.replace("{", "$").replace("}", "")
    needed = [p for p in found.get("parameters", ()) if p["in"] == "query" and p.get("required")]
    if needed:
        url += "?" + "&".join(f"{p['name']}={example(p['schema'], names)}" for p in needed)
    parts = ["curl" if method == "GET" else f"curl -X {method}"]
    if found["x-audience"] != "public":
        parts.append('-H "Authorization: Bearer $TOKEN"')
    if body:
        text = json.dumps(example(body, names), ensure_ascii=False).replace("'", "'\\''")
        parts += ['-H "Content-Type: application/json"', f"-d '{text}'"]
    return " \\\n  ".join([*parts, f'"{url}"'])
