"""`manage.py close_period`: close what is due now, and say what stands in the way."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing.services.close import due_list, grace_s, period_close
from portal.clock import now
from portal.models import BillingPeriod
from portal.services.nodes import expected_boots
from portal.usage import reader


class Command(BaseCommand):
    help = "Close a billing period (by id), or every one that is due."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("period", nargs="?", help="id of a billing period; empty = all due")

    def handle(self, *args: Any, **options: Any) -> None:
        instant, blocked = now(), 0
        if options["period"]:
            rows = list(BillingPeriod.objects.filter(pk=options["period"]))
        else:
            rows = list(due_list(now=instant, grace_s=grace_s()))
        for row in rows:
            outcome = period_close(
                subscription_id=row.subscription_id,
                period_id=row.pk,
                reader=reader(),
                expected=expected_boots(),
                grace_s=grace_s(),
                now=instant,
            )
            blocked += not outcome.closed
            text = "closed" if outcome.closed else "; ".join(outcome.blockers)
            self.stdout.write(f"{row.pk} {row}: {text}")
        self.stdout.write(f"{len(rows) - blocked} closed, {blocked} blocked")
        if blocked:
            msg = f"{blocked} periods could not be closed"
            raise CommandError(msg)
