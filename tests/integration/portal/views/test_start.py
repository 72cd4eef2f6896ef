"""The first-call page: what it shows in each state, with and without usage."""

from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse

from gateway.contracts.access_log import Charge
from portal.models import Credential, Role, User
from portal.services.credentials import credential_reveal_test, credential_revoke
from tests.factories.portal import PASSWORD, api, client_of, member, organization
from tests.fakes.request_log import FakeRequestLog

pytestmark = pytest.mark.django_db


@pytest.fixture
def newcomer(log: FakeRequestLog) -> Client:
    api()
    client = Client()
    form = {"email": "ada@example.test", "password1": PASSWORD}
    assert client.post("/accounts/signup/", form)["Location"] == "/start"
    return client


def shown_key() -> Credential:
    return Credential.objects.get(environment="test")


def call(log: FakeRequestLog, **outcome: object) -> None:
    """A call with the test key, refused or answered, after the key was made."""
    row = shown_key()
    log.add(
        row.consumer.organization_id,
        at=row.created_at + timedelta(seconds=2),
        credential_id=row.pk,
        environment="test",
        charge=Charge.FREE,
        **outcome,  # type: ignore[arg-type]
    )


def test_the_curl_carries_the_own_key(newcomer: Client) -> None:
    page = newcomer.get("/start").content.decode()
    assert credential_reveal_test(credential=shown_key()) in page
    assert "/v1/countries?limit=2" in page
    assert "Waiting for your first request" in page
    assert "data-poll-done" not in page


def test_the_first_2xx_turns_it_green_and_is_noted_once(
    newcomer: Client, log: FakeRequestLog
) -> None:
    call(log, status=200, reason="test:2xx", latency_us=38_400)
    page = newcomer.get("/start/status").content.decode()
    assert "Your first call arrived." in page
    assert "38\xa0ms" in page
    assert "$0.00 (test)" in page
    assert "data-poll-done" in page
    person = User.objects.get(email="ada@example.test")
    noted = person.first_2xx_at
    assert noted == log.recorded[0].row.admitted_at
    call(log, status=200, reason="test:2xx")
    newcomer.get("/start/status")
    person.refresh_from_db()
    assert person.first_2xx_at == noted


@pytest.mark.parametrize(
    ("status", "decision", "words"),
    [
        (401, "credential_invalid", "revoked, expired or not yet valid"),
        (403, "ip_forbidden", "an address that the key does not allow"),
        (403, "insufficient_scope", "lacks a scope that this route requires"),
        (404, "route_not_found", "No route matches"),
        (429, "rate_limited", "Too many calls in a short time"),
        (404, "allow", "The API refused the request"),
        (502, "allow", "The API itself failed"),
    ],
)
def test_a_refusal_is_explained(
    newcomer: Client, log: FakeRequestLog, status: int, decision: str, words: str
) -> None:
    call(log, status=status, decision=decision, reason="test:refused")
    page = newcomer.get("/start/status").content.decode()
    assert f"got {status}" in page
    assert words in page
    assert "data-poll-done" not in page
    assert User.objects.get(email="ada@example.test").first_2xx_at is None


def test_it_says_so_when_usage_cannot_be_read(newcomer: Client, log: FakeRequestLog) -> None:
    log.down = True
    page = newcomer.get("/start")
    assert page.status_code == 200
    assert "Usage cannot be read at the moment" in page.content.decode()


def test_without_a_test_key_it_leads_to_one(newcomer: Client, log: FakeRequestLog) -> None:
    credential_revoke(credential=shown_key(), actor=None, now=log.now)
    page = newcomer.get("/start").content.decode()
    assert "Create a test key" in page
    assert newcomer.get("/start/status").status_code == 204


def test_who_holds_no_keys_is_told(log: FakeRequestLog) -> None:
    api()
    accountant = member(organization(), role=Role.BILLING)
    page = client_of(accountant.user).get(reverse("start")).content.decode()
    assert "You hold no keys" in page
    assert "tw_test_" not in page


def test_the_landing_page_shows_the_call_to_everybody(log: FakeRequestLog) -> None:
    api()
    page = Client().get("/").content.decode()
    assert "YOUR_TEST_KEY" in page
    assert reverse("account_signup") in page
