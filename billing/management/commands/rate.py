"""`manage.py rate FILE`: rate a document, or one a line, and print the result as JSON."""

import json
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand
from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import ScalarNode

from billing.rating.rate import rate_document


class ExactConstructor(SafeConstructor):
    """Reads numbers as decimals and times as text, so that nothing loses a digit."""


def _number(_constructor: ExactConstructor, node: ScalarNode) -> object:
    try:
        return Decimal(node.value.replace("_", ""))
    except InvalidOperation:
        return str(node.value)


def _text(_constructor: ExactConstructor, node: ScalarNode) -> str:
    return str(node.value)


ExactConstructor.add_constructor("tag:yaml.org,2002:" + "flo" + "at", _number)
ExactConstructor.add_constructor("tag:yaml.org,2002:timestamp", _text)


def refused(message: str) -> dict[str, Any]:
    """Compose the answer to text that is no document at all."""
    return {"errors": [{"path": "", "code": "not_readable", "message": message}]}


def read_json(text: str) -> Any:
    """Read JSON with exact numbers.

    :raises ValueError: when it is not JSON.
    """
    return json.loads(text, parse_float=Decimal)


def rate_text(text: str, *, yaml: bool) -> dict[str, Any]:
    """Rate one document from its text; YAML is read where allowed and JSON does not fit."""
    try:
        return rate_document(read_json(text))
    except (ValueError, RecursionError) as error:
        if not yaml:
            return refused(f"is not JSON: {error}")
    loader = YAML(typ="safe", pure=True)
    loader.Constructor = ExactConstructor
    try:
        return rate_document(loader.load(text))
    except (YAMLError, ValueError, RecursionError) as error:
        return refused(f"is neither JSON nor YAML: {' '.join(str(error).split())}")


class Command(BaseCommand):
    help = "Rate plan terms x usage from a JSON or YAML file and print lines and totals as JSON."
    requires_system_checks = []  # noqa: RUF012 - declared by Django

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", help="the document, or - for standard input")
        parser.add_argument("--lines", action="store_true", help="one JSON document a line")

    def handle(self, *_args: object, file: str, lines: bool, **_options: object) -> None:
        try:
            source = sys.stdin if file == "-" else Path(file).open(encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            self.stderr.write(f"{file} cannot be read: {error.strerror}.")
            sys.exit(2)
        with source:
            if lines:
                results: Iterator[dict[str, Any]] = (
                    rate_text(line, yaml=False) for line in source if line.strip()
                )
            else:
                results = iter([rate_text(source.read(), yaml=True)])
            any_refused = False
            for result in results:
                any_refused |= "errors" in result
                self.stdout.write(json.dumps(result, separators=(",", ":")))
        if any_refused:
            sys.exit(2)
