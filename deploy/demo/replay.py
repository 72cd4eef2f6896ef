"""Plays the demo's past as real requests, a day at a time, until the sandbox's clock is today's.

Runs against a started installation whose clock lies in the past (`seed --days`). Every day the
customers call the gateway, what they crossed is mailed, then the clock moves a day on: periods
end, close and become drafts on the way, as they do in life. Interrupted, it goes on at the next
start, where the clock stands.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings.local")
django.setup()

import aiohttp  # noqa: E402 - Django must be set up first
from django.conf import settings  # noqa: E402

from billing.services.close import due_list  # noqa: E402
from billing.tasks import scan_alerts  # noqa: E402
from deploy.demo.seed import CUSTOMERS, KEYS_FILE, DemoCustomer  # noqa: E402
from deploy.demo.traffic import request_of  # noqa: E402
from metering.queries import UsageFilter  # noqa: E402
from portal import clock  # noqa: E402
from portal.models import NodeBoot, SnapshotDirty, SnapshotVersion, UsageAlert  # noqa: E402
from portal.services.clock_control import clock_advance  # noqa: E402
from portal.usage import reader  # noqa: E402

A_DAY = timedelta(days=1)
NOTICE_DAYS = 3
LANES = 8
WITHIN_S = 60
POLL_S = 0.02
REFUSED = frozenset({401, 403})  # a key that is not known: the played month would be empty


def calls_of(customer: DemoCustomer, day: datetime) -> int:
    """Say how many calls a customer makes on a day: fewer at weekends, no two days alike."""
    share = 35 if day.weekday() >= 5 else 100
    swing = 80 + (day.toordinal() * 7 + len(customer.name) * 3) % 41  # 80 to 120 percent
    return customer.daily * share * swing // 10_000


async def send_day(session: aiohttp.ClientSession, keys: dict[str, str], day: datetime) -> int:
    """Send a day's calls of every customer, each to its last byte; return how many."""
    calls = [
        (keys[customer.email], day.toordinal() + number)
        for customer in CUSTOMERS
        for number in range(calls_of(customer, day))
    ]

    async def lane(first: int) -> None:
        for key, number in calls[first::LANES]:
            method, path, body = request_of(number)
            headers = {"X-API-Key": key, "Content-Type": "application/json"}
            url = settings.ENV.gateway_url + path
            async with session.request(method, url, data=body, headers=headers) as response:
                await response.read()
                if response.status in REFUSED:
                    msg = f"The gateway answered {method} {path} with {response.status}."
                    raise SystemExit(msg)

    await asyncio.gather(*(lane(first) for first in range(LANES)))
    return len(calls)


def in_force() -> bool:
    """Say whether every gateway worker that runs holds the newest snapshot, and it is whole."""
    dirty = SnapshotDirty.objects.filter(pk=1).first()
    if dirty is None or dirty.changes != dirty.published_changes:
        return False
    newest = SnapshotVersion.objects.latest("version").version
    held = {
        (boot.node_id, boot.worker): boot.acknowledged_version
        for boot in NodeBoot.objects.order_by("first_seen_at", "id")
    }
    return bool(held) and all(version >= newest for version in held.values())


def wait_for(ready: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not ready():
        if time.monotonic() > deadline:
            msg = f"{what} did not happen within {WITHIN_S} s; see the logs folder."
            raise SystemExit(msg)
        time.sleep(POLL_S)


def is_noticed(day: datetime) -> bool:
    """Say whether the product looks at the end of a day: every third, and a month's last."""
    return (day + A_DAY).day % NOTICE_DAYS == 1


def notice(sent: int, since: datetime) -> None:
    """Let the product notice what the calls since an instant have crossed, before the day is over.

    In life the scan looks every minute; here a day takes a second, and an alert of a window that
    is over is mailed to nobody. It is the same task, and the worker sends the mails.
    """
    where = UsageFilter(start=since, end=clock.now() + A_DAY, everyone=True)
    wait_for(lambda: reader().usage(where).total.events >= sent, "The recording of the calls")
    scan_alerts()
    waiting = UsageAlert.objects.filter(notified_at__isnull=True)
    wait_for(
        lambda: not waiting.exclude(window_end__lte=clock.now()).exists(), "Mailing the alerts"
    )


def step() -> None:
    """Move the product's time on by a day, at most to the machine's time."""
    wall = clock.wall_now()
    clock_advance(
        actor=None, actor_label="demo replay", wall=wall, to=min(clock.now() + A_DAY, wall)
    )
    wait_for(in_force, "The gateway's taking of the new time")


def _send(keys: dict[str, str], day: datetime) -> int:
    async def run() -> int:
        timeout = aiohttp.ClientTimeout(total=60)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            return await send_day(session, keys, day)

    return asyncio.run(run())


def replay(keys: dict[str, str]) -> int:
    """Play every day up to today; return how many requests were sent."""
    sent = 0
    wait_for(in_force, "The gateway's first snapshot")
    unseen, since = 0, clock.now()
    while clock.offset() < timedelta(0):
        day = clock.now()
        today = _send(keys, day)
        sent, unseen = sent + today, unseen + today
        if is_noticed(day):
            notice(unseen, since)
            unseen, since = 0, day + A_DAY
        step()
    wait_for(lambda: not due_list(now=clock.now(), grace_s=0), "The close of last month")
    return sent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    options = parser.parse_args()
    if clock.offset() < timedelta(0):
        keys = json.loads((options.data / "secrets" / KEYS_FILE).read_text())
        print(replay(keys))  # noqa: T201 - for the caller
    return 0


if __name__ == "__main__":
    sys.exit(main())
