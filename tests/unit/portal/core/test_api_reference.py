"""The reference page's rows: words for types, examples, and commands that a shell takes."""

import doctest
import shlex
from typing import Any

import pytest

from portal.core import api_reference
from portal.core.api_reference import example, operations, type_text


def test_examples_in_docstrings() -> None:
    found = doctest.testmod(api_reference)
    assert (found.failed, found.attempted > 0) == (0, True)


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({}, "any value"),
        ({"enum": ["a", ""]}, 'a | ""'),
        ({"type": "array", "items": {"type": "integer"}}, "list of integer"),
        ({"type": "object", "additionalProperties": {"type": "string"}}, "object of string"),
        ({"type": "object", "additionalProperties": {}}, "object of any value"),
        ({"type": "object", "additionalProperties": False}, "object"),
        ({"oneOf": [{"enum": ["a"]}, {"type": "null"}]}, "a or null"),
    ],
)
def test_a_type_in_words(schema: dict[str, Any], words: str) -> None:
    assert type_text(schema, {}) == words


def test_an_example_prefers_what_the_schema_says() -> None:
    body = {
        "type": "object",
        "required": ["a", "b", "c", "d"],
        "properties": {
            "a": {"type": "integer", "default": 7},
            "b": {"type": "array", "items": {"enum": ["x", "y"]}},
            "c": {"type": ["string", "null"], "format": "date-time"},
            "d": {"type": "object"},
            "optional": {"type": "string"},
        },
    }
    assert example(body, {}) == {"a": 7, "b": ["x"], "c": "2026-01-31T12:00:00Z", "d": {}}


def test_a_quote_in_a_body_survives_the_shell() -> None:
    text = {"type": "string", "default": "it's"}
    schema = {"type": "object", "required": ["t"], "properties": {"t": text}}
    document = {
        "components": {"schemas": {}},
        "paths": {
            "/api/v1/x/{id}": {
                "post": {
                    "operationId": "x",
                    "x-audience": "signed_in",
                    "parameters": [],
                    "requestBody": {"content": {"application/json": {"schema": schema}}},
                    "responses": {"204": {"description": ""}, "default": {}},
                }
            }
        },
    }
    (row,) = operations(document, base_url="http://h")
    words = shlex.split(row.curl)
    assert words[words.index("-d") + 1] == '{"t": "it\'s"}'
    assert (words[-1], row.status, row.media, row.answer) == (
        "http://h/api/v1/x/$id",
        "204",
        "",
        (),
    )
