"""`Idempotency-Key`: what is repeated, what is refused, what is tried again, what is stored."""

import itertools
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.db import connection

from billing.models import CreditNote
from portal.api.idempotency import REPLAYED
from portal.clock import wall_now
from portal.models import Consumer, Credential, IdempotentCall, Invitation
from portal.services.consumers import CONSUMERS_MAX
from portal.services.idempotent_calls import KEPT_FOR, LEASE
from portal.tasks import purge_calls_task
from tests.factories.billing import customer
from tests.factories.portal import NOW, cast, consumer, key, user
from tests.integration.billing.test_pages import issued_of
from tests.integration.portal.api.described import Caller, document
from tests.integration.portal.api.test_api import ALL

pytestmark = pytest.mark.django_db
LIVE = {"name": "Server", "environment": "live"}
POSTS = [(route, access) for route, method, access in ALL if method == "POST"]


def stored() -> str:
    """Return every value of the table, as the database holds it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM portal_idempotentcall")
        return str(cursor.fetchall())


def test_a_call_that_is_sent_again_is_answered_byte_for_byte() -> None:
    who = cast()
    consumer(who.organization)
    alice, url = Caller(who.alice.user), f"organizations/{who.organization.slug}/keys"
    first = alice.send("POST", url, LIVE, idempotency_key="k-1")
    again = alice.send("POST", url, dict(reversed(LIVE.items())), idempotency_key="k-1")
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert again.headers["Content-Type"] == first.headers["Content-Type"]
    assert (REPLAYED in first.headers, again.headers[REPLAYED]) == (False, "true")
    assert first.headers["X-Request-Id"] != again.headers["X-Request-Id"]
    assert Credential.objects.count() == 1
    assert alice.send("POST", url, LIVE, idempotency_key="k-2").status_code == 201
    assert alice.send("POST", url, LIVE).status_code == 201
    assert Credential.objects.count() == 3


def test_no_secret_and_no_key_is_stored_in_plain_text() -> None:
    who = cast()
    consumer(who.organization)
    alice, url = Caller(who.alice.user), f"organizations/{who.organization.slug}/keys"
    made = alice.send("POST", url, LIVE, idempotency_key="my-own-key").json()
    one = f"{url}/{made['key']['id']}/rotate"
    rotated = alice.send("POST", one, {}, idempotency_key="my-own-key").json()
    held = stored()
    for secret in (made["secret"], rotated["secret"]):
        assert secret[-12:] not in held
    assert "my-own-key" not in held
    assert IdempotentCall.objects.count() == 2
    again = alice.send("POST", one, {}, idempotency_key="my-own-key").json()
    assert again["secret"] == rotated["secret"]


def test_a_key_stands_for_one_body_of_one_person_at_one_path() -> None:
    who = cast()
    consumer(who.organization)
    alice, bob = Caller(who.alice.user), Caller(who.bob.user)
    url = f"organizations/{who.organization.slug}/keys"
    alice.send("POST", url, LIVE, idempotency_key="k")
    other = alice.send("POST", url, LIVE | {"name": "Other"}, idempotency_key="k")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    asked = alice.send("POST", url, LIVE, idempotency_key="k", x=1)
    assert asked.json()["code"] == "idempotency_key_reused"
    assert Credential.objects.count() == 1
    theirs = bob.send("POST", url, LIVE, idempotency_key="k")
    assert (theirs.status_code, REPLAYED in theirs.headers) == (201, False)
    apps = f"organizations/{who.organization.slug}/consumers"
    assert alice.send("POST", apps, {"name": "a"}, idempotency_key="k").status_code == 201
    newer = Caller(who.alice.user)  # another token of the same person
    assert newer.send("POST", url, LIVE, idempotency_key="k").headers[REPLAYED] == "true"


def test_who_may_no_longer_call_gets_no_kept_answer() -> None:
    who = cast()
    consumer(who.organization)
    bob, url = Caller(who.bob.user), f"organizations/{who.organization.slug}/keys"
    assert bob.send("POST", url, LIVE, idempotency_key="k").status_code == 201
    who.bob.delete()
    assert bob.send("POST", url, LIVE, idempotency_key="k").status_code == 404


def test_a_refusal_is_not_kept_so_that_the_key_can_be_tried_again() -> None:
    who = cast()
    Consumer.objects.bulk_create(
        Consumer(organization=who.organization, name="x", username=f"u{n}", created_at=NOW)
        for n in range(CONSUMERS_MAX)
    )
    alice, url = Caller(who.alice.user), f"organizations/{who.organization.slug}/consumers"
    for body, status in (({}, 422), ({"name": "a"}, 409)):
        assert alice.send("POST", url, body, idempotency_key="k").status_code == status
        assert not IdempotentCall.objects.exists()
    Consumer.objects.filter(username="u0").delete()
    assert alice.send("POST", url, {"name": "a"}, idempotency_key="k").status_code == 201


def test_work_whose_answer_cannot_be_kept_is_undone() -> None:
    who = cast()
    consumer(who.organization)
    alice, url = Caller(who.alice.user), f"organizations/{who.organization.slug}/keys"
    alice.client.raise_request_exception = False
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TRIGGER full BEFORE UPDATE ON portal_idempotentcall "
            "WHEN NEW.status IS NOT NULL BEGIN SELECT RAISE(ABORT, 'disk full'); END"
        )
        failed = alice.send("POST", url, LIVE, idempotency_key="k")
        cursor.execute("DROP TRIGGER full")
    assert (failed.status_code, failed.json()["code"]) == (500, "portal_error")
    assert not Credential.objects.exists()
    assert not IdempotentCall.objects.exists()
    assert alice.send("POST", url, LIVE, idempotency_key="k").status_code == 201


@pytest.mark.parametrize("bad", ["", "a b", "é", "x" * 256, "tab\t"])
def test_what_is_no_key_is_refused(bad: str) -> None:
    who = cast()
    alice, url = Caller(who.alice.user), f"organizations/{who.organization.slug}/consumers"
    refused = alice.send("POST", url, {"name": "a"}, idempotency_key=bad)
    assert (refused.status_code, refused.json()["code"]) == (400, "idempotency_key_invalid")
    assert not Consumer.objects.exists()
    assert alice.send("POST", url, {"name": "a"}, idempotency_key="!" * 255).status_code == 201


def test_a_call_that_crashed_is_in_progress_until_its_claim_runs_out() -> None:
    who = cast()
    alice, url = Caller(who.alice.user), f"organizations/{who.organization.slug}/consumers"
    alice.send("POST", url, {"name": "a"}, idempotency_key="k")
    IdempotentCall.objects.update(status=None, sealed_answer="", expires_at=wall_now() + LEASE)
    busy = alice.send("POST", url, {"name": "a"}, idempotency_key="k")
    assert (busy.status_code, busy.json()["code"]) == (409, "idempotency_in_progress")
    assert busy.headers["Retry-After"] == "1"
    IdempotentCall.objects.update(expires_at=wall_now())
    assert alice.send("POST", url, {"name": "a"}, idempotency_key="k").status_code == 201
    assert IdempotentCall.objects.get().status == 201


def test_answers_are_kept_for_a_day_and_then_forgotten() -> None:
    who = cast()
    alice, url = Caller(who.alice.user), f"organizations/{who.organization.slug}/consumers"
    alice.send("POST", url, {"name": "a"}, idempotency_key="k")
    alice.send("POST", url, {"name": "b"}, idempotency_key="l")
    left = IdempotentCall.objects.earliest("expires_at").expires_at - wall_now()
    assert KEPT_FOR - timedelta(minutes=1) < left <= KEPT_FOR
    purge_calls_task()
    assert IdempotentCall.objects.count() == 2
    first = IdempotentCall.objects.earliest("pk")
    IdempotentCall.objects.filter(pk=first.pk).update(expires_at=wall_now())
    again = alice.send("POST", url, {"name": "other"}, idempotency_key="k")
    assert (again.status_code, REPLAYED in again.headers) == (201, False)
    IdempotentCall.objects.filter(pk=first.pk).update(expires_at=wall_now())
    purge_calls_task()
    assert [c.pk for c in IdempotentCall.objects.all()] == [first.pk + 1]


def test_a_draft_of_money_is_made_once() -> None:
    invoice = issued_of(customer())
    finance = Caller(user(staff_role="finance"), "read", "write", "finance")
    url = f"finance/invoices/{invoice.pk}/credit-notes"
    body = {"goodwill_minor": 100, "reason_code": "other", "reason": "A bad week."}
    first = finance.send("POST", url, body, idempotency_key="k")
    again = finance.send("POST", url, body, idempotency_key="k")
    assert (first.status_code, again.content) == (201, first.content)
    assert CreditNote.objects.count() == 1


def test_an_operation_that_reaches_outside_and_one_without_a_body_are_repeated_too() -> None:
    who = cast()
    alice, org = Caller(who.alice.user), f"organizations/{who.organization.slug}"
    body = {"email": "dora@example.test", "role": "developer"}
    for _ in range(2):
        sent = alice.send("POST", f"{org}/invitations", body, idempotency_key="k")
        assert sent.status_code == 201
    assert (Invitation.objects.count(), len(mail.outbox)) == (1, 1)
    row = key(who.organization).credential
    revoke = f"{org}/keys/{row.pk}/revoke"
    answers = [alice.send("POST", revoke, idempotency_key="k") for _ in range(2)]
    assert [a.status_code for a in answers] == [200, 200]
    assert answers[0].content == answers[1].content


@pytest.mark.parametrize(("route", "access"), POSTS, ids=[route for route, _ in POSTS])
def test_every_post_takes_a_key(route: str, access: Any) -> None:
    who = cast()
    person = who.alice.user
    if access.audience == "staff":
        person = user(staff_role="admin")
    numbers = itertools.count()
    path = "".join(
        part if n % 2 == 0 else (who.organization.slug if "org" in part else f"x_{next(numbers)}")
        for n, part in enumerate(route.replace(">", "<").split("<"))
    ).removeprefix("api/v1/")
    scopes = ("read", "write", "admin") if access.audience == "staff" else ()
    refused = Caller(person, *scopes).send("POST", path, {}, idempotency_key="a b")
    assert (refused.status_code, refused.json()["code"]) == (400, "idempotency_key_invalid")


def test_the_document_names_the_header_on_every_post_and_nowhere_else() -> None:
    def named() -> Iterator[tuple[str, bool]]:
        for path in document()["paths"].values():
            for method, found in path.items():
                headers = {p["name"] for p in found.get("parameters", ()) if p["in"] == "header"}
                yield method, "Idempotency-Key" in headers

    assert all(has == (method == "post") for method, has in named())
