"""Keys through the browser's eyes: shown once, guarded by the password, ended with numbers."""

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse

from gateway.contracts.api_keys import key_hash
from portal.clock import wall_now
from portal.models import Credential, Membership, Organization, Role
from portal.services.clock_control import clock_advance
from portal.services.credentials import credential_revoke
from tests.factories.portal import (
    PASSWORD,
    api,
    cast,
    client_of,
    consumer,
    key,
    member,
    organization,
)
from tests.fakes.request_log import FakeRequestLog
from tests.integration.portal.api.described import Caller

pytestmark = pytest.mark.django_db
KEY = re.compile(r"tw_(?:sbx|test)_[0-9A-Za-z]{28,}")


def fresh_login(person: Membership) -> Client:
    """Sign in by password, as a step-up asks for."""
    client = Client()
    form = {"login": person.user.email, "password": PASSWORD}
    assert client.post("/accounts/login/", form).status_code == 302
    return client


def new_key(client: Client, org: Organization, **form: object) -> tuple[int, str]:
    owner = org.consumers.first() or consumer(org)
    values = {"name": "Server", "environment": "live", "consumer": owner.pk, **form}
    answer = client.post(reverse("key_new", args=[org.slug]), values)
    return answer.status_code, answer.content.decode()


def test_a_live_key_is_shown_once_and_never_again(log: FakeRequestLog) -> None:
    who = cast()
    client = fresh_login(who.alice)
    status, page = new_key(client, who.organization)
    found = KEY.search(page)
    assert status == 201
    assert found is not None
    row = Credential.objects.get(key_hash=key_hash(found[0]))
    for name, args in (("key_list", []), ("key_detail", [row.pk]), ("key_rotate", [row.pk])):
        url = reverse(name, args=[who.organization.slug, *args])
        assert found[0] not in client.get(url).content.decode(), name


def test_the_page_with_a_secret_is_not_cached(log: FakeRequestLog) -> None:
    who = cast()
    url = reverse("key_new", args=[who.organization.slug])
    form = {"name": "x", "environment": "test", "consumer": consumer(who.organization).pk}
    answer = client_of(who.alice.user).post(url, form)
    assert answer.status_code == 201
    assert "no-store" in answer.headers["Cache-Control"]


def test_a_live_key_asks_for_the_password_and_then_goes_on(log: FakeRequestLog) -> None:
    who = cast()
    client = client_of(who.alice.user)  # a session that proved nothing lately
    url = reverse("key_new", args=[who.organization.slug])
    owner = consumer(who.organization)
    form = {"name": "Server", "environment": "live", "consumer": owner.pk}
    answer = client.post(url, form)
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith("/accounts/reauthenticate/")
    assert not Credential.objects.exists()
    resumed = client.post(answer.headers["Location"], {"password": PASSWORD, "next": url})
    assert resumed.status_code == 201
    assert KEY.search(resumed.content.decode())
    assert Credential.objects.filter(environment="live").count() == 1


def test_a_test_key_asks_for_nothing(log: FakeRequestLog) -> None:
    who = cast()
    assert new_key(client_of(who.bob.user), who.organization, environment="test")[0] == 201


def test_unverified_mail_blocks_a_live_key_with_words(log: FakeRequestLog) -> None:
    org = organization()
    newcomer = member(org, role=Role.OWNER, verified=False)
    status, page = new_key(fresh_login(newcomer), org)
    assert status == 422
    assert "Confirm your e-mail address first" in page
    assert not Credential.objects.exists()


@pytest.mark.parametrize(
    ("case", "field", "value"),
    [
        ("a day gone by", "expires_on", "2001-01-01"),
        ("no address", "ip_allow", "office"),
        ("an unknown environment", "environment", "prod"),
        ("no name", "name", ""),
    ],
)
def test_bad_input_makes_no_key(case: str, field: str, value: str, log: FakeRequestLog) -> None:
    who = cast()
    form = {"environment": "test", field: value}
    status, _page = new_key(client_of(who.alice.user), who.organization, **form)
    assert status == 422, case
    assert not Credential.objects.exists()


def test_no_route_requires_a_scope_so_none_is_offered(log: FakeRequestLog) -> None:
    who = cast()
    api()
    client = client_of(who.alice.user)
    row = key(who.organization).credential
    for name, args in (("key_new", []), ("key_detail", [row.pk])):
        page = client.get(reverse(name, args=[who.organization.slug, *args]))
        assert "Scopes" not in page.content.decode(), name
    form = {"environment": "test", "scopes": ["maps:read"]}
    assert new_key(client, who.organization, **form)[0] == 201
    assert Credential.objects.latest("created_at").scopes == []


def test_scopes_that_routes_require_are_offered_chosen_and_shown(log: FakeRequestLog) -> None:
    who = cast()
    api(scopes=("maps:read", "maps:write"))
    client = client_of(who.bob.user)
    offered = client.get(reverse("key_new", args=[who.organization.slug])).content.decode()
    assert "maps:read · /v1/countries" in offered
    assert "403 insufficient_scope" in offered
    assert new_key(client, who.organization, environment="test", scopes=["maps:read"])[0] == 201
    row = Credential.objects.get()
    assert row.scopes == ["maps:read"]
    detail = reverse("key_detail", args=[who.organization.slug, row.pk])
    assert "<code>maps:read</code>" in client.get(detail).content.decode()
    new_key(client, who.organization, environment="test", name="Plain")
    plain = Credential.objects.get(name="Plain")
    assert plain.scopes == []
    detail = reverse("key_detail", args=[who.organization.slug, plain.pk])
    assert "none: routes that require one answer 403" in client.get(detail).content.decode()


def test_a_scope_that_is_not_offered_is_an_error_at_its_field(log: FakeRequestLog) -> None:
    who = cast()
    api(scopes=("maps:read",))
    form = {"environment": "test", "scopes": ["maps:read", "maps:all"]}
    status, page = new_key(client_of(who.alice.user), who.organization, **form)
    assert status == 422
    assert 'id="id_scopes_error"' in page
    assert re.search(r'value="maps:read"[^>]* checked', page)
    assert not Credential.objects.exists()


def test_rotation_shows_the_old_keys_traffic(log: FakeRequestLog) -> None:
    who = cast()
    old = key(who.organization, environment="test").credential
    for minute in range(38):
        log.add(
            who.organization.pk,
            at=log.now - timedelta(minutes=minute),
            credential_id=old.pk,
            environment="test",
        )
    client = client_of(who.alice.user)
    url = reverse("key_rotate", args=[who.organization.slug, old.pk])
    assert "38 calls an hour fail as soon as" in client.get(url).content.decode()
    answer = client.post(url, {"overlap": "86400"})
    assert answer.status_code == 201
    old.refresh_from_db()
    assert old.rotated_to is not None
    detail = client.get(reverse("key_detail", args=[who.organization.slug, old.pk]))
    assert "still 38 calls in the last hour: not safe to end" in detail.content.decode()


def test_revoking_says_what_will_fail_and_needs_a_post(log: FakeRequestLog) -> None:
    who = cast()
    row = key(who.organization, environment="live").credential
    log.add(who.organization.pk, at=log.now - timedelta(minutes=1), credential_id=row.pk)
    client = client_of(who.alice.user)
    url = reverse("key_revoke", args=[who.organization.slug, row.pk])
    assert "1 call in the last hour" in client.get(url).content.decode()
    row.refresh_from_db()
    assert row.revoked_at is None
    assert client.post(url).status_code == 302
    row.refresh_from_db()
    assert row.revoked_at is not None


def test_keys_are_listed_while_usage_is_down(log: FakeRequestLog) -> None:
    who = cast()
    kept = key(who.organization).credential
    gone = key(who.organization, name="Gone").credential
    credential_revoke(credential=gone, actor=None, now=log.now)
    log.down = True
    page = client_of(who.alice.user).get(reverse("key_list", args=[who.organization.slug]))
    text = page.content.decode()
    assert page.status_code == 200
    assert "Usage cannot be read at the moment" in text
    assert str(kept) in text
    assert str(gone) not in text
    assert "Show 1 ended key" in text


def test_a_sandbox_far_ahead_ends_keys_by_the_machines_time(log: FakeRequestLog) -> None:
    """Gateways judge a key by the wall clock, whatever product time it is."""
    who, wall = cast(), wall_now()
    clock_advance(actor=None, wall=wall, by=timedelta(days=31))
    org = who.organization
    old = key(org, now=wall, expires_at=wall + timedelta(days=10)).credential
    client = client_of(who.alice.user)
    page = client.get(reverse("key_detail", args=[org.slug, old.pk])).content.decode()
    assert "Active" in page
    url = reverse("key_rotate", args=[org.slug, old.pk])
    assert client.post(url, {"overlap": "3600"}).status_code == 201
    old.refresh_from_db()
    assert old.expires_at is not None
    assert wall + timedelta(hours=1) <= old.expires_at <= wall_now() + timedelta(hours=1)
    day = f"{wall + timedelta(days=20):%Y-%m-%d}"
    status, _page = new_key(client, org, environment="test", expires_on=day)
    assert status == 201
    sent = Caller(who.alice.user).send(
        "POST",
        f"organizations/{org.slug}/keys",
        {"name": "x", "environment": "test", "expires_at": f"{day}T00:00:00Z"},
    )
    assert sent.status_code == 201
