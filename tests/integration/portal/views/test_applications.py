"""Applications by hand: list, new, rename, stop with a confirmation, start, and a key for one."""

import pytest
from django.urls import reverse

from portal.models import Consumer, Credential
from tests.factories.portal import cast, client_of, consumer, key
from tests.fakes.request_log import FakeRequestLog

pytestmark = pytest.mark.django_db


def test_an_application_is_made_renamed_and_stopped(log: FakeRequestLog) -> None:
    who = cast()
    org, alice = who.organization, client_of(who.alice.user)
    listed = reverse("consumer_list", args=[org.slug])
    assert "No application yet" in alice.get(listed).content.decode()
    new = reverse("consumer_new", args=[org.slug])
    assert alice.post(new, {"name": "Shop", "username": "shop"}).status_code == 302
    row = Consumer.objects.get()
    key(org)
    edit = reverse("consumer_edit", args=[org.slug, row.pk])
    assert alice.post(edit, {"name": "Shop 2", "custom_id": "7"}).status_code == 302
    assert "Shop 2" in alice.get(listed).content.decode()

    stop = reverse("consumer_deactivate", args=[org.slug, row.pk])
    page = alice.get(stop).content.decode()
    assert "1 key of it works now" in page
    assert "no key of the organization works" in page
    refused = alice.post(stop, {"reason": "moved"})
    assert refused.status_code == 422
    assert 'value="moved"' in refused.content.decode()
    assert alice.post(stop, {"reason": "moved", "even_last": "on"}).status_code == 302
    row.refresh_from_db()
    assert (row.name, row.custom_id, row.is_active) == ("Shop 2", "7", False)
    page = alice.get(reverse("key_new", args=[org.slug])).content.decode()
    assert "No application is active" in page

    start = reverse("consumer_activate", args=[org.slug, row.pk])
    assert "1 key of it works again" in alice.get(start).content.decode()
    assert alice.post(start, {}).status_code == 302
    row.refresh_from_db()
    assert row.is_active


def test_what_was_typed_is_kept_with_the_problem_at_its_field(log: FakeRequestLog) -> None:
    who = cast()
    taken = consumer(who.elsewhere).username
    url = reverse("consumer_new", args=[who.organization.slug])
    answer = client_of(who.alice.user).post(url, {"name": "My shop", "username": taken})
    page = answer.content.decode()
    assert answer.status_code == 422
    assert 'value="My shop"' in page
    assert "is taken; choose another one" in page
    assert not who.organization.consumers.exists()


def test_a_key_is_made_for_the_chosen_application(log: FakeRequestLog) -> None:
    who = cast()
    org, alice = who.organization, client_of(who.alice.user)
    first = consumer(org)
    url = reverse("key_new", args=[org.slug])
    assert "<select" not in alice.get(url).content.decode()
    second = consumer(org, name="Mobile app")
    page = alice.get(url, {"consumer": second.pk}).content.decode()
    assert f'value="{second.pk}" selected' in page
    form = {"name": "x", "environment": "test", "consumer": second.pk}
    assert alice.post(url, form).status_code == 201
    assert Credential.objects.get().consumer == second
    assert "Mobile app" not in alice.get(reverse("key_list", args=[org.slug])).content.decode()
    assert alice.post(url, form | {"consumer": first.pk}).status_code == 201
    assert "Mobile app" in alice.get(reverse("key_list", args=[org.slug])).content.decode()
    second.is_active = False
    second.save()
    stale = alice.post(url, form)
    assert stale.status_code == 422
    assert "<select" in stale.content.decode()
