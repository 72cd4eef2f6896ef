"""`manage.py create_token EMAIL`: a token for the REST API, printed once."""

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from portal import clock
from portal.errors import InputInvalidError
from portal.models import User
from portal.services.api_tokens import api_token_create

MAX_DAYS = 3_650


class Command(BaseCommand):
    help = "Make a token for the REST API that acts for a person, and print it once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email", help="the person's sign-in address")
        parser.add_argument("--name", default="Command line", help="where it is used")
        parser.add_argument(
            "--scope",
            action="append",
            default=[],
            choices=["read", "write", "admin", "finance"],
            help="may be repeated; left out: all that the person's role allows",
        )
        parser.add_argument("--days", type=int, help="until it expires; left out: it does not")

    def handle(self, *_: Any, **options: Any) -> None:
        person = User.objects.filter(email__iexact=options["email"], is_active=True).first()
        if person is None:
            msg = f"Nobody signs in as {options['email']}."
            raise CommandError(msg)
        days, wall = options["days"], clock.wall_now()
        if days is not None and not 1 <= days <= MAX_DAYS:
            msg = f"--days must be from 1 to {MAX_DAYS}."
            raise CommandError(msg)
        try:
            issued = api_token_create(
                user=person,
                name=options["name"][:80],
                scopes=options["scope"],
                expires_at=wall + timedelta(days=days) if days else None,
                wall=wall,
                now=clock.now(),
                actor_label="create_token",
            )
        except InputInvalidError as error:
            raise CommandError("; ".join(p.message for p in error.problems)) from error
        self.stderr.write(f"Scopes: {', '.join(issued.token.scopes)}. It is not shown again.")
        self.stdout.write(issued.secret)
