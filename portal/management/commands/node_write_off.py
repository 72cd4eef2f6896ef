"""`manage.py node_write_off NODE --reason TEXT`: stop waiting for a gateway that is lost."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from portal import clock
from portal.errors import NotFoundError
from portal.services.nodes import node_write_off


class Command(BaseCommand):
    help = "Give up what a lost gateway has not delivered, so that periods can close again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("node")
        parser.add_argument("--reason", required=True, help="kept in the audit log")

    def handle(self, *_: Any, **options: Any) -> None:
        try:
            node_write_off(
                node_id=options["node"],
                actor=None,
                actor_label="node_write_off",
                reason=options["reason"],
                now=clock.now(),
            )
        except NotFoundError as error:
            msg = f"No gateway called {options['node']} has ever polled."
            raise CommandError(msg) from error
        self.stdout.write(f"{options['node']} no longer holds the watermark back.")
