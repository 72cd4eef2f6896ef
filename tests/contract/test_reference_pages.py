"""The reference pages name every setting, metric and command that exists, and nothing else."""

import argparse
import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import get_commands, load_command_class
from pydantic_core import PydanticUndefined

from billing.services.inbox import APPLIED_EVENTS
from gateway.config import GatewaySettings
from gateway.metrics import Stats
from metering import sink_metrics
from metering.__main__ import _parser as metering_parser
from portal.settings.env import Env
from tests.contract.compose import read as read_compose
from tests.contract.settings_fields import FAMILIES

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
NONE = "\N{EN DASH}"
OUR_APPS = ("portal", "billing")
COMMON = frozenset({"help", "version", "verbosity", "settings", "pythonpath", "traceback",
                    "no_color", "force_color", "skip_checks"})  # fmt: skip


def _rows(page: str) -> list[list[str]]:
    lines = (DOCS / page).read_text().splitlines()
    cells = [
        [c.strip() for c in line.strip("|").split("|")] for line in lines if line[:3] == "| `"
    ]
    return [[row[0].strip("`"), *row[1:]] for row in cells]


def test_every_setting_is_described_once_for_the_processes_that_read_it() -> None:
    rows = _rows("settings.md")
    described = {row[0]: set(row[1].split(", ")) for row in rows}
    assert len(rows) == len(described)
    names = {name for family in FAMILIES.values() for name in family}
    assert described == {
        name: {family for family, known in FAMILIES.items() if name in known} for name in names
    }


def _default(field: Any) -> str:
    value = field.default_factory() if field.default is PydanticUndefined else field.default
    if isinstance(value, list):
        value = ",".join(map(str, value))
    if isinstance(value, Path):
        value = value.name
    return f"`{str(value).lower() if isinstance(value, bool) else value}`" if value != "" else NONE


@pytest.mark.parametrize("model", [Env, GatewaySettings])
def test_defaults_are_those_of_the_code(model: type[Env] | type[GatewaySettings]) -> None:
    described = {row[0]: row[2] for row in _rows("settings.md")}
    for field in model.model_fields.values():
        assert described[str(field.alias)] == _default(field), field.alias


def test_required_settings_are_marked() -> None:
    marked = {row[0] for row in _rows("settings.md") if row[3].endswith("required")}
    with pytest.raises(ValueError, match="production needs") as refused:
        Env.model_validate({"TOLLWAY_MODE": "production"})
    assert marked == set(re.findall(r"\b[A-Z]+_[A-Z_]+\b", str(refused.value))) - {
        "TOLLWAY_MODE",
        "_FILE",
    }


def _named_metrics() -> set[str]:
    """Return the names in the source too: some gauges are made when a part opens."""
    found = set()
    for path in [*(ROOT / "gateway").rglob("*.py"), *(ROOT / "metering").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            text = node.value if isinstance(node, ast.Constant) else None
            if isinstance(text, str) and re.fullmatch(r"tollway_[a-z_]+", text):
                found.add(text)
    return found - {"tollway_reader"}


def test_every_metric_is_described() -> None:
    described = {row[0]: row[1] for row in _rows("metrics.md")}
    exposed = {m.name: m.type for m in (*Stats().collect(), *sink_metrics.REGISTRY.collect())}
    assert set(described) == _named_metrics() | set(exposed)
    assert {name: described[name] for name in exposed} == exposed


def _command_lines(parser: argparse.ArgumentParser, name: str) -> Iterator[tuple[str, set[str]]]:
    """Yield each command and sub-command with the names of its arguments."""
    subs = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if subs:
        for sub, below in subs[0].choices.items():
            yield from _command_lines(below, f"{name} {sub}")
        return
    own = [action for action in parser._actions if action.dest not in COMMON]
    yield name, {a.option_strings[0] if a.option_strings else a.dest for a in own}


def _ours() -> Iterator[tuple[str, set[str]]]:
    for name, app in get_commands().items():
        if app in OUR_APPS:
            parser = load_command_class(app, name).create_parser("manage.py", name)
            yield from _command_lines(parser, f"manage.py {name}")
    yield from _command_lines(metering_parser(), "python -m metering")
    yield from (("python -m gateway", set()), ("python -m gateway shipper", set()))


def test_every_command_is_described_with_its_arguments() -> None:
    described = {row[0]: " ".join(row) for row in _rows("commands.md")}
    exist = dict(_ours())
    lines = {max((n for n in exist if text.startswith(n)), key=len): text for text in described}
    assert set(lines) == set(exist)
    assert len(lines) == len(described)
    for name, arguments in exist.items():
        text = described[lines[name]]
        given = set(re.findall(r"--[a-z-]+", text))
        assert given == {a for a in arguments if a.startswith("--")}, name
        for plain in (a for a in arguments if not a.startswith("--")):
            assert plain in lines[name].removeprefix(name), (name, plain)


def _links() -> Iterator[tuple[Path, str]]:
    for page in [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            if not re.match(r"[a-z]+:", target):
                yield page, target


def test_relative_links_lead_somewhere() -> None:
    for page, target in _links():
        path = page.parent / target.partition("#")[0]
        assert path.exists() or target.startswith("#"), f"{page.name}: {target}"


def test_commands_that_the_readme_names_exist() -> None:
    text = (ROOT / "README.md").read_text()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([a-z-]+)", text, re.MULTILINE)) <= targets
    named = set(re.findall(r"manage\.py ([a-z_]+)", text))
    assert named <= {name for name, app in get_commands().items() if app in OUR_APPS}


def test_metrics_that_any_page_names_exist() -> None:
    exist = _named_metrics() | {m.name for m in Stats().collect()}
    for page in DOCS.rglob("*.md"):
        named = set(re.findall(r"`(tollway_[a-z_]+)`", page.read_text()))
        assert named <= exist | {"tollway_reader"}, page.name


def test_the_webhook_events_to_send_are_those_that_are_applied() -> None:
    text = (DOCS / "production.md").read_text()
    events = re.findall(r"^- `([a-z_.]+)`$", text, re.MULTILINE)
    assert all(event.startswith(APPLIED_EVENTS) for event in events)
    assert all(any(event.startswith(prefix) for event in events) for prefix in APPLIED_EVENTS)


def test_every_secret_file_is_described() -> None:
    described = {row[0] for row in _rows("production.md")}
    assert described == set(read_compose()["secrets"])
