"""Twins of a call with one `Idempotency-Key`, on a real PostgreSQL: two connections at once.

The first call is held in the middle of its work by the audit chain's lock, which the test takes.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection, connections
from django.test import Client

from portal.api.idempotency import REPLAYED
from portal.clock import wall_now
from portal.models import Credential, IdempotentCall
from portal.services.audit import _LOCK_KEY
from tests.factories.portal import cast, consumer
from tests.integration.portal.api.described import bearer
from tests.integration.portal.test_postgres import _postgres

__all__ = ["_postgres"]
pytestmark = [pytest.mark.timeout(90), pytest.mark.usefixtures("_postgres")]
WAIT_S = 20


class Calls:
    """Makes the same key-creating call from threads of its own."""

    def __init__(self) -> None:
        who = cast()
        consumer(who.organization)
        self.url = f"/api/v1/organizations/{who.organization.slug}/keys"
        self.headers = bearer(who.alice.user) | {"Idempotency-Key": "k"}
        self.threads: list[threading.Thread] = []
        self.answers: list[Any] = []

    def post(self) -> Any:
        body = {"name": "Server", "environment": "live"}
        return Client(headers=self.headers).post(self.url, body, "application/json")

    def start(self) -> None:
        def run() -> None:
            try:
                self.answers.append(self.post())
            finally:
                connections.close_all()

        self.threads.append(threading.Thread(target=run))
        self.threads[-1].start()

    def join(self) -> list[int]:
        for thread in self.threads:
            thread.join(WAIT_S)
        return sorted(answer.status_code for answer in self.answers)


@contextmanager
def nobody_is_audited() -> Iterator[None]:
    """Hold the lock that every audited change waits for."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [_LOCK_KEY])
        try:
            yield
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [_LOCK_KEY])


def waiting() -> int:
    """Count the connections that wait for the lock."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        return int(cursor.fetchone()[0])


def until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_twin_is_told_to_wait_and_then_gets_the_first_answer() -> None:
    calls = Calls()
    with nobody_is_audited():
        calls.start()
        until(lambda: waiting() == 1)
        twin = calls.post()
        assert (twin.status_code, twin.json()["code"]) == (409, "idempotency_in_progress")
        assert twin.headers["Retry-After"] == "1"
    assert calls.join() == [201]
    again = calls.post()
    assert (again.content, again.headers[REPLAYED]) == (calls.answers[0].content, "true")
    assert Credential.objects.count() == 1


def test_who_is_overtaken_leaves_nothing_behind() -> None:
    calls = Calls()
    with nobody_is_audited():
        calls.start()
        until(lambda: waiting() == 1)
        IdempotentCall.objects.update(expires_at=wall_now())
        calls.start()
        until(lambda: waiting() == 2)
    assert calls.join() == [201, 409]
    assert Credential.objects.count() == 1


def test_ten_at_once_make_one_key() -> None:
    calls = Calls()
    for _ in range(10):
        calls.start()
    found = calls.join()
    assert len(found) == 10
    assert set(found) <= {201, 409}
    assert 201 in found
    made = {answer.content for answer in calls.answers if answer.status_code == 201}
    assert len(made) == Credential.objects.count() == 1
