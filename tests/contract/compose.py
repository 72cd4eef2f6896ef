"""Reads `docker-compose.yml` as `docker compose` would: merge keys, variables, durations.

Only what the file uses is understood; anything else is refused, so that it cannot slip through.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from gateway.contracts.environment import parse_dotenv

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docker-compose.yml"
EXAMPLE = ROOT / ".env.example"
_VARIABLE = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>[A-Z_]+)(?P<rule>:[-?][^}]*)?\})")
_UNITS = {"s": 1, "m": 60}


class InterpolationError(ValueError):
    """A variable without a value, or a `$` that compose would read otherwise."""


def interpolate(text: str, values: Mapping[str, str]) -> str:
    """Fill in `${NAME}`, `${NAME:-default}` and `${NAME:?why}`; `$$` is a dollar sign.

    :raises InterpolationError: when a needed value is missing.
    """

    def value_of(match: re.Match[str]) -> str:
        if match["dollar"]:
            return "$"
        found, rule = values.get(match["name"], ""), match["rule"] or ""
        if not found and rule.startswith(":?"):
            raise InterpolationError(match["name"])
        return found or rule.removeprefix(":-")

    if re.search(r"\$", _VARIABLE.sub("", text)):
        msg = f"a bare $ in {text!r}"
        raise InterpolationError(msg)
    return _VARIABLE.sub(value_of, text)


def variables(text: str) -> dict[str, str]:
    """Return each variable of the file with its rule (`:?why`, `:-default` or nothing)."""
    found = {m["name"]: m["rule"] or "" for m in _VARIABLE.finditer(text) if m["name"]}
    required = {m["name"] for m in _VARIABLE.finditer(text) if (m["rule"] or "").startswith(":?")}
    return {name: ":?" if name in required else rule for name, rule in found.items()}


def _filled(node: Any, values: Mapping[str, str]) -> Any:
    if isinstance(node, str):
        return interpolate(node, values)
    if isinstance(node, list):
        return [_filled(item, values) for item in node]
    if isinstance(node, dict):
        return {key: _filled(item, values) for key, item in node.items()}
    return node


def example_values() -> dict[str, str]:
    """Return what `.env.example` sets."""
    return {k: v for k, v in parse_dotenv(EXAMPLE.read_text()).items() if v}


def read(values: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Read the file with variables filled in; without values, those of the example."""
    filled = _filled(yaml.safe_load(FILE.read_text()), values or example_values())
    if not isinstance(filled, dict):
        raise TypeError
    return filled


def seconds(duration: str) -> int:
    """Read `40s` or `2m`."""
    return int(duration[:-1]) * _UNITS[duration[-1]]
