"""`manage.py config dump | diff FILE | apply FILE [--dry-run]`: everything an admin defines."""

import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from portal import clock
from portal.core.config_diff import Change
from portal.errors import InputInvalidError
from portal.services.config_dump import config_dump
from portal.services.config_file import config_apply, config_write


class Command(BaseCommand):
    help = "Dump the configuration, show what a file would change, or apply it as a whole."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        actions.add_parser("dump", help="write the configuration as YAML")
        for name, text in (("diff", "show what FILE would change"), ("apply", "apply FILE")):
            action = actions.add_parser(name, help=text)
            action.add_argument("file", help="a path, or - for standard input")
            if name == "apply":
                action.add_argument("--dry-run", action="store_true", help="change nothing")

    def handle(self, *_: Any, **options: Any) -> None:
        now = clock.now()
        if options["action"] == "dump":
            self.stdout.write(config_write(config_dump(now=now)), ending="")
            return
        dry_run = options["action"] == "diff" or options["dry_run"]
        try:
            text = _read(options["file"])
            changes = config_apply(text=text, actor=None, now=now, dry_run=dry_run)
        except InputInvalidError as error:
            lines = [f"{p.path or 'file'}: {p.message} ({p.code})" for p in error.problems]
            raise CommandError("\n".join(["Nothing was changed.", *lines])) from error
        for change in changes:
            self.stdout.write(_line(change))
        verb = "would change" if dry_run else "changed"
        self.stdout.write(f"{len(changes)} values {verb}.")


def _read(name: str) -> str:
    if name == "-":
        return sys.stdin.read()
    try:
        return Path(name).read_text(encoding="utf-8")
    except OSError as error:
        msg = f"{name} cannot be read: {error.strerror}."
        raise CommandError(msg) from error


def _line(change: Change) -> str:
    if change.before is None:
        return f"+ {change.path}: {change.after}"
    if change.after is None:
        return f"- {change.path}: {change.before}"
    return f"~ {change.path}: {change.before} -> {change.after}"
