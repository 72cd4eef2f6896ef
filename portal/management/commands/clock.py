"""`manage.py clock show | advance --to T | --by D | start --at T`: the sandbox's time by hand."""

import re
from argparse import ArgumentTypeError
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser

from portal import clock
from portal.errors import PortalError
from portal.services.clock_control import clock_advance, clock_start

_LENGTH: Final = re.compile(r"(\d{1,6})([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def length(text: str) -> timedelta:
    """Read `90s`, `15m`, `6h`, `31d`, `4w`, or several of them in a row (`1d12h`)."""
    parts = _LENGTH.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        msg = f"{text} is no length: write 90s, 15m, 6h, 31d or 1d12h"
        raise ArgumentTypeError(msg)
    return sum((timedelta(**{_UNITS[u]: int(n)}) for n, u in parts), timedelta())


def instant(text: str) -> datetime:
    """Read an ISO-8601 time; without an offset it is UTC."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        msg = f"{text} is no ISO-8601 time"
        raise ArgumentTypeError(msg) from error
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)


class Command(BaseCommand):
    help = "Show the product's time; in a sandbox, start it somewhere or move it forward."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        actions.add_parser("show", help="print the product's time and its offset")
        advance = actions.add_parser("advance", help="move the time forward")
        step = advance.add_mutually_exclusive_group(required=True)
        step.add_argument("--to", type=instant, help="an ISO-8601 time")
        step.add_argument("--by", type=length, help="a length: 90s, 15m, 6h, 31d, 1d12h")
        start = actions.add_parser("start", help="set a new sandbox's first time, past or future")
        start.add_argument("--at", type=instant, required=True, help="an ISO-8601 time")

    def handle(self, *_: Any, **options: Any) -> None:
        try:
            if options["action"] == "advance":
                clock_advance(
                    actor=None,
                    actor_label="clock advance",
                    wall=clock.wall_now(),
                    to=options["to"],
                    by=options["by"],
                )
            elif options["action"] == "start":
                clock_start(at=options["at"], wall=clock.wall_now())
        except PortalError as error:
            raise CommandError(str(error) or error.public) from error
        self.stdout.write(f"{clock.now():%Y-%m-%dT%H:%M:%SZ} (offset {clock.offset()})")
