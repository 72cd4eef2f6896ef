"""The gateways' long-poll: a real portal process, its database, and polls over HTTP."""

import http.client
import json
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.contracts.snapshot import parse_document

TOKEN = "poll-test-token"
ROOT = Path(__file__).parents[3]
HEADERS = {
    "Authorization": f"Bearer {TOKEN}",
    "Tollway-Node": "node-a",
    "Tollway-Boot": "boot-1",
    "Tollway-Worker": "0",
}
CHANGE = """
import time, django
django.setup()
from django.db import transaction
from portal.models import Api
from portal.snapshots import snapshot_touch
input()
with transaction.atomic():
    Api.objects.update_or_create(
        slug="maps", defaults={"name": str(time.time()), "created_at": "2026-01-01T00:00:00Z",
        "is_published": not Api.objects.filter(is_published=True).exists()})
    snapshot_touch()
print(time.time(), flush=True)
"""


@dataclass
class Portal:
    """A running portal and the environment it was started with."""

    port: int
    data_dir: Path
    environment: dict[str, str]

    def poll(self, query: str = "after=0", **headers: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=40)
        connection.request("GET", f"/internal/v1/snapshot?{query}", headers=HEADERS | headers)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return response.status, json.loads(body) if body else None

    def rows(self, sql: str) -> list[Any]:
        with sqlite3.connect(self.data_dir / "portal.sqlite3") as database:
            return database.execute(sql).fetchall()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    data_dir = tmp_path_factory.mktemp("portal")
    environment = {
        "PATH": os.environ["PATH"],
        "TOLLWAY_DATA_DIR": str(data_dir),
        "TOLLWAY_GATEWAY_TOKEN": TOKEN,
        "TOLLWAY_SECRET_KEY": "x" * 50,
        "DJANGO_SETTINGS_MODULE": "portal.settings.local",
        "PYTHONPATH": str(ROOT),
    }
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "-v0"], cwd=ROOT, env=environment, check=True
    )
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "portal.asgi:application"]
    server = subprocess.Popen(  # noqa: S603 - our own command
        [*command, "--port", str(port), "--log-level", "warning", "--lifespan", "off"],
        cwd=ROOT,
        env=environment,
    )
    running = Portal(port, data_dir, environment)
    try:
        for _ in range(150):
            try:
                running.poll()
                break
            except OSError:
                time.sleep(0.1)
        yield running
    finally:
        server.terminate()
        server.wait(10)


def test_the_first_poll_publishes_and_opens_the_node(portal: Portal) -> None:
    status, document = portal.poll(**{"Tollway-Boot": "boot-first"})
    assert status == 200
    assert parse_document(document).version == document["version"] >= 1
    assert ("node-a", "boot-first", 0) in portal.rows(
        "SELECT node_id, boot, worker FROM portal_nodeboot"
    )


def test_a_change_reaches_every_waiting_poll_in_under_a_second(portal: Portal) -> None:
    """The change commits in another process, as a worker's or a command's would."""
    version = portal.poll()[1]["version"]
    changer = subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-c", CHANGE],
        cwd=ROOT,
        env=portal.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    arrivals: list[tuple[int, int, float]] = []

    def wait(worker: int) -> None:
        status, document = portal.poll(f"after={version}", **{"Tollway-Worker": str(worker)})
        arrivals.append((status, document["version"], time.time()))

    threads = [threading.Thread(target=wait, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    assert arrivals == []
    output, _ = changer.communicate("go\n", timeout=15)
    committed_s = float(output)
    for thread in threads:
        thread.join(10)
    assert [(status, newer) for status, newer, _ in arrivals] == [(200, version + 1)] * 8
    assert max(arrived_s - committed_s for *_, arrived_s in arrivals) < 1


def test_acknowledgement_and_refusal_are_recorded(portal: Portal) -> None:
    """A refused version is not sent again; the hang-up ends the wait."""
    version = portal.poll()[1]["version"]
    connection = http.client.HTTPConnection("127.0.0.1", portal.port, timeout=0.7)
    query = f"after={version - 1}&refused={version}&reason=routes%5B0%5D%3A+bad"
    connection.request("GET", f"/internal/v1/snapshot?{query}", headers=HEADERS)
    with pytest.raises(TimeoutError):
        connection.getresponse()
    connection.close()
    row = "SELECT acknowledged_version, refused_version, refused_reason FROM portal_nodeboot"
    assert (version - 1, version, "routes[0]: bad") in portal.rows(f"{row} WHERE boot = 'boot-1'")


@pytest.mark.parametrize(
    ("headers", "query", "status", "code"),
    [
        ({"Authorization": "Bearer wrong"}, "after=0", 401, "token_invalid"),
        ({"Authorization": ""}, "after=0", 401, "token_invalid"),
        ({"Tollway-Node": ""}, "after=0", 400, "invalid_poll"),
        ({"Tollway-Boot": "b" * 81}, "after=0", 400, "invalid_poll"),
        ({}, "after=-1", 400, "invalid_poll"),
        ({}, "after=x", 400, "invalid_poll"),
    ],
)
def test_what_is_refused(
    portal: Portal, headers: dict[str, str], query: str, status: int, code: str
) -> None:
    answered, problem = portal.poll(query, **headers)
    assert (answered, problem["code"]) == (status, code)
