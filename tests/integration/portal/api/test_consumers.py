"""Applications through the REST API: from the first name to a key that no longer works."""

import pytest

from portal.models import AuditEvent, Consumer, Role
from portal.services.consumers import CONSUMERS_MAX
from tests.factories.portal import NOW, cast, key
from tests.integration.portal.api.described import Caller

pytestmark = pytest.mark.django_db


def test_an_application_from_creation_to_its_end() -> None:
    who = cast(bob=Role.DEVELOPER)
    bob, url = Caller(who.bob.user), f"organizations/{who.organization.slug}/consumers"
    made = bob.post(url, {"name": "Shop", "username": "shop", "custom_id": "7"})
    assert (made["username"], made["custom_id"], made["is_active"]) == ("shop", "7", True)
    one = f"{url}/{made['id']}"
    assert bob.patch(one, {"name": "Shop 2", "custom_id": ""})["custom_id"] == ""
    assert bob.get(one)["name"] == "Shop 2"
    keys = f"organizations/{who.organization.slug}/keys"
    body = {"name": "Server", "environment": "test", "consumer": made["id"]}
    assert bob.post(keys, body)["key"]["consumer"] == made["id"]

    assert bob.refused("POST", f"{one}/deactivate") == (409, "last_consumer")
    stopped = bob.post(f"{one}/deactivate", {"even_last": True, "reason": "moved"})
    assert not stopped["is_active"]
    assert bob.refused("POST", keys, body) == (422, "input_invalid")
    assert AuditEvent.objects.get(action="consumer.deactivate").reason == "moved"
    assert bob.post(f"{one}/activate")["is_active"]
    assert bob.get(url)["count"] == 1
    assert Consumer.objects.filter(pk=made["id"]).exists()


def test_bad_input_is_told_at_its_field() -> None:
    who = cast()
    alice, url = Caller(who.alice.user), f"organizations/{who.organization.slug}/consumers"
    own = key(who.organization).credential.consumer
    taken = key(who.elsewhere).credential.consumer.username
    for body, pointer, code in (
        ({}, "/name", "required"),
        ({"name": "a", "username": taken}, "/username", "taken"),
        ({"name": "a", "username": "Not a slug"}, "/username", "not_a_text"),
        ({"name": "a", "is_active": False}, "/is_active", "unknown_field"),
    ):
        answer = alice.send("POST", url, body)
        found = [(e["pointer"], e["code"]) for e in answer.json()["errors"]]
        assert (answer.status_code, found) == (422, [(pointer, code)])
    assert alice.refused("PATCH", f"{url}/{own.pk}", {"username": "x"}) == (422, "input_invalid")
    assert alice.refused("PATCH", f"{url}/{own.pk}", {"name": ""}) == (422, "input_invalid")
    Consumer.objects.bulk_create(
        Consumer(organization=who.organization, name="x", username=f"u{n}", created_at=NOW)
        for n in range(CONSUMERS_MAX)
    )
    assert alice.refused("POST", url, {"name": "One more"}) == (409, "consumer_limit")
