"""Sign-up through the real form: what a new person has a moment later."""

from collections.abc import Iterator

import pytest
from django.core import mail
from django.core.cache import cache
from django.test import Client

from portal.models import Credential, Membership, Organization, Role, User
from portal.services import accounts
from portal.services.credentials import credential_reveal_test
from tests.factories.portal import PASSWORD

pytestmark = pytest.mark.django_db
FORM = {"email": "Ada@Example.test", "password1": PASSWORD}


@pytest.fixture(autouse=True)
def _throttles_start_empty() -> Iterator[None]:
    cache.clear()
    yield
    cache.clear()


def test_sign_up_provisions_everything_for_a_first_call() -> None:
    answer = Client().post("/accounts/signup/", FORM)
    assert answer.status_code == 302
    assert answer["Location"] == "/start"
    person = User.objects.get(email="ada@example.test")
    membership = Membership.objects.get(user=person)
    assert membership.role == Role.OWNER
    assert membership.organization.is_personal
    key = Credential.objects.get(consumer__organization=membership.organization)
    assert key.environment == "test"
    assert credential_reveal_test(credential=key).startswith("tw_test_")
    assert "confirm" in mail.outbox[0].subject.lower()


def test_sign_up_is_all_or_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(**_: object) -> None:
        raise RuntimeError("disk full")

    monkeypatch.setattr(accounts, "credential_create", fails)
    with pytest.raises(RuntimeError):
        Client().post("/accounts/signup/", FORM)
    assert not User.objects.exists()
    assert not Organization.objects.exists()


def test_an_address_signs_up_once() -> None:
    assert Client().post("/accounts/signup/", FORM).status_code == 302
    Client().post("/accounts/signup/", FORM)
    assert User.objects.count() == 1
    assert Organization.objects.count() == 1


def test_login_attempts_are_throttled() -> None:
    Client().post("/accounts/signup/", FORM)
    browser = Client()
    wrong = {"login": "ada@example.test", "password": "wrong wrong wrong"}
    answers = [browser.post("/accounts/login/", wrong) for _ in range(12)]
    right = browser.post("/accounts/login/", {"login": "ada@example.test", "password": PASSWORD})
    assert "Too many failed" in answers[-1].content.decode() or answers[-1].status_code == 429
    assert right.status_code != 302
