"""`manage.py rate FILE`: rate a document, or one a line, and print the result as JSON."""

import json
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, BinaryIO

from django.core.management.base import BaseCommand
from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import ScalarNode

from billing.rating.rate import answer_document


class ExactConstructor(SafeConstructor):
    """Reads numbers as decimals and times as text, so that nothing loses a digit."""


def _exact(text: str) -> Decimal | str:
    """Read a number; one that Decimal has no room for stays text, refused at its field."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return text


def _number(_constructor: ExactConstructor, node: ScalarNode) -> object:
    return _exact(node.value.replace("_", ""))


def _text(_constructor: ExactConstructor, node: ScalarNode) -> str:
    return str(node.value)


ExactConstructor.add_constructor("tag:yaml.org,2002:" + "flo" + "at", _number)
ExactConstructor.add_constructor("tag:yaml.org,2002:timestamp", _text)


def refused(message: str) -> dict[str, Any]:
    """Compose the answer to text that is no document at all."""
    return {"errors": [{"path": "", "code": "not_readable", "message": message}]}


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        msg = f"field {twice!r} is given twice in one object"
        raise ValueError(msg)
    return found


def read_json(text: str) -> Any:
    """Read JSON with exact numbers; a field given twice is an error.

    :raises ValueError: when it is not such JSON.
    """
    return json.loads(text, parse_float=_exact, parse_int=_exact, object_pairs_hook=_object)


def read_yaml(text: str) -> Any:
    """Read one YAML document with exact numbers, times as they are written, and no tags.

    :raises ValueError: when it is not such YAML.
    """
    loader = YAML(typ="safe", pure=True)
    loader.Constructor = ExactConstructor
    try:
        return loader.load(text)
    except (YAMLError, LookupError) as error:  # a scalar that its own tag does not fit is a lookup
        raise ValueError(" ".join(str(error).split())) from None


def rate_text(text: bytes, *, yaml: bool) -> dict[str, Any]:
    """Rate one document from its bytes; YAML is read where allowed and JSON does not fit."""
    try:
        source = text.decode("utf-8-sig")
    except UnicodeDecodeError:
        return refused("is not UTF-8")
    try:
        return answer_document(read_json(source))
    except (ValueError, RecursionError) as error:
        if not yaml:
            return refused(f"is not JSON: {error}")
        why = str(error)
    try:
        return answer_document(read_yaml(source))
    except (ValueError, RecursionError) as error:
        both = source.lstrip().startswith("{")
        return refused(f"is not JSON: {why}" if both else f"is not YAML: {error}")


class Command(BaseCommand):
    help = "Rate plan terms x usage from a JSON or YAML file and print lines and totals as JSON."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", help="the document, or - for standard input")
        parser.add_argument("--lines", action="store_true", help="one JSON document a line")

    def handle(self, *_args: object, file: str, lines: bool, **_options: object) -> None:
        try:
            source = sys.stdin.buffer if file == "-" else Path(file).open("rb")  # noqa: SIM115
        except OSError as error:
            self.stderr.write(f"{file} cannot be read: {error.strerror}.")
            sys.exit(2)
        with source:
            any_refused = False
            for result in rate_stream(source, lines=lines):
                any_refused |= "errors" in result
                self.stdout.write(json.dumps(result, separators=(",", ":")))
        if any_refused:
            sys.exit(2)


def rate_stream(source: BinaryIO, *, lines: bool) -> Iterator[dict[str, Any]]:
    """Rate a stream as one document, or every line that is not blank as one."""
    if not lines:
        yield rate_text(source.read(), yaml=True)
        return
    for line in source:
        if line.strip():
            yield rate_text(line, yaml=False)
