"""`manage.py snapshot_publish`: publish the gateways' snapshot now, if its content changed."""

from typing import Any

from django.core.management.base import BaseCommand

from portal import clock
from portal.snapshots import snapshot_publish


class Command(BaseCommand):
    help = "Publish a snapshot version, if what it says has changed."

    def handle(self, *_: Any, **options: Any) -> None:
        self.stdout.write(f"snapshot version {snapshot_publish(now=clock.now())}")
