"""Applications: given names, a cap, and an end that is refused where it would stop everything."""

import re
from typing import Any

import pytest

from gateway.contracts.snapshot import parse_document
from portal.errors import ConsumerLimitError, InputInvalidError, LastConsumerError
from portal.models import AuditEvent, Consumer, SnapshotDirty, SnapshotVersion
from portal.services.consumers import (
    CONSUMERS_MAX,
    consumer_activate,
    consumer_create,
    consumer_deactivate,
    consumer_update,
)
from portal.services.credentials import credential_revoke
from portal.snapshots import snapshot_publish
from tests.factories.portal import NOW, cast, consumer, key, later, organization

pytestmark = pytest.mark.django_db


def changes() -> int:
    row = SnapshotDirty.objects.filter(pk=1).first()
    return row.changes if row else 0


def problems(error: Any) -> list[tuple[str, str]]:
    return [(p.path, p.code) for p in error.value.problems]


def test_an_application_is_made_renamed_stopped_and_started() -> None:
    who = cast()
    org = who.organization
    by: dict[str, Any] = {"actor": who.alice.user, "now": NOW}
    row = consumer_create(organization=org, values={"name": "Shop"}, **by)
    assert re.fullmatch(rf"{org.slug}-[0-9a-f]{{6}}", row.username)
    assert changes() == 1
    consumer_update(consumer=row, values={"custom_id": "4711"}, **by)
    consumer_update(consumer=row, values={"name": "Shop", "custom_id": "4711"}, **by)
    assert changes() == 2
    for _ in range(2):
        consumer_deactivate(consumer=row, reason="gone", keep_last_at=NOW, **by)
    assert changes() == 3
    consumer_activate(consumer=row, **by)
    row.refresh_from_db()
    assert (row.name, row.custom_id, row.is_active) == ("Shop", "4711", True)
    events = AuditEvent.objects.filter(target=row.pk, organization=org).order_by("id")
    assert [(e.action, e.reason) for e in events] == [
        ("consumer.create", ""),
        ("consumer.update", ""),
        ("consumer.deactivate", "gone"),
        ("consumer.activate", ""),
    ]


def test_gateways_hear_that_it_stopped() -> None:
    who = cast()
    first = key(who.organization).credential.consumer
    second = consumer(who.organization, name="Other")
    consumer_deactivate(consumer=second, actor=who.alice.user, now=NOW, keep_last_at=NOW)
    version = snapshot_publish(now=NOW)
    held = parse_document(SnapshotVersion.objects.get(version=version).document)
    assert (held.consumers[first.pk].active, held.consumers[second.pk].active) == (True, False)


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        ({}, ("name", "required")),
        ({"name": "x" * 121}, ("name", "not_a_text")),
        ({"name": "a\nb"}, ("name", "not_a_text")),
        ({"name": "a", "username": "Upper"}, ("username", "not_a_text")),
        ({"name": "a", "username": "a" * 61}, ("username", "not_a_text")),
        ({"name": "a", "custom_id": "a\r\nX-Evil: 1"}, ("custom_id", "not_a_text")),
        ({"name": "a", "surprise": "b"}, ("surprise", "unknown_field")),
    ],
)
def test_what_cannot_be_a_name_is_refused(values: dict[str, str], wrong: tuple[str, str]) -> None:
    with pytest.raises(InputInvalidError) as error:
        consumer_create(organization=organization(), values=values, actor=None, now=NOW)
    assert problems(error) == [wrong]
    assert not Consumer.objects.exists()


def test_a_username_is_given_once_in_the_installation() -> None:
    who = cast()
    taken = {"name": "Shop", "username": "shop"}
    made = consumer_create(organization=who.organization, values=taken, actor=None, now=NOW)
    for org in (who.organization, who.elsewhere):
        with pytest.raises(InputInvalidError) as error:
            consumer_create(organization=org, values=taken, actor=None, now=NOW)
        assert problems(error) == [("username", "taken")]
    with pytest.raises(InputInvalidError) as error:
        consumer_update(consumer=made, values={"username": "other"}, actor=None, now=NOW)
    assert problems(error) == [("username", "fixed")]


def test_an_organization_has_a_hundred_at_most() -> None:
    who = cast()
    Consumer.objects.bulk_create(
        Consumer(
            organization=who.organization,
            name="x",
            username=f"u{n}",
            created_at=NOW,
            is_active=n % 2 == 0,
        )
        for n in range(CONSUMERS_MAX - 1)
    )
    values = {"name": "Last"}
    consumer_create(organization=who.organization, values=values, actor=None, now=NOW)
    with pytest.raises(ConsumerLimitError):
        consumer_create(organization=who.organization, values=values, actor=None, now=NOW)
    consumer_create(organization=who.elsewhere, values=values, actor=None, now=NOW)


def test_the_last_one_with_working_keys_stops_on_demand_only() -> None:
    who = cast()
    issued = key(who.organization, expires_at=later(hours=1)).credential
    row = issued.consumer
    by: dict[str, Any] = {"actor": who.alice.user}
    with pytest.raises(LastConsumerError):
        consumer_deactivate(consumer=row, now=NOW, keep_last_at=NOW, **by)
    other = consumer(who.organization, name="Other")
    consumer_deactivate(consumer=row, now=NOW, keep_last_at=NOW, **by)
    consumer_deactivate(consumer=other, now=NOW, keep_last_at=NOW, **by)  # it has no key
    consumer_deactivate(consumer=row, now=NOW, keep_last_at=NOW, **by)  # stopped already
    consumer_activate(consumer=row, now=NOW, **by)
    with pytest.raises(LastConsumerError):
        consumer_deactivate(consumer=row, now=NOW, keep_last_at=NOW, **by)
    consumer_deactivate(consumer=row, now=NOW, keep_last_at=None, **by)
    consumer_activate(consumer=row, now=NOW, **by)
    consumer_deactivate(
        consumer=row, now=NOW, keep_last_at=later(hours=2), **by
    )  # its key has run out
    consumer_activate(consumer=row, now=NOW, **by)
    credential_revoke(credential=issued, now=NOW, **by)
    consumer_deactivate(consumer=row, now=NOW, keep_last_at=NOW, **by)
    row.refresh_from_db()
    assert not row.is_active
