"""The audit log: hashed over its predecessor, kept by the database, told apart when tampered."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import IntegrityError, connection, transaction

from portal.models import AuditEvent
from portal.services.audit import GENESIS_HASH, audit_chain_check, audit_record
from tests.factories.provider import NOW, make_organization, make_user

pytestmark = pytest.mark.django_db


def record_three() -> list[AuditEvent]:
    user, organization = make_user(), make_organization()
    return [
        audit_record(
            actor=user,
            action="plan.publish",
            target=f"pv_{index}",
            now=NOW + timedelta(seconds=index),
            organization=organization,
            after={"price": Decimal("1.20"), "at": NOW},
        )
        for index in range(3)
    ]


def test_each_event_follows_from_the_one_before() -> None:
    first, second, third = record_three()
    assert first.previous_hash == GENESIS_HASH
    assert [second.previous_hash, third.previous_hash] == [first.hash, second.hash]
    assert first.after == {"price": "1.20", "at": "2026-03-10T12:00:00Z"}
    assert audit_chain_check() is None


def test_without_a_user_the_label_says_who() -> None:
    assert audit_record(actor=None, action="a", target="", now=NOW).actor_label == "system"
    event = audit_record(actor=None, action="a", target="", now=NOW, actor_label="token ci")
    assert event.actor_label == "token ci"


@pytest.mark.parametrize("change", [{"reason": "other"}, {"after": None}, {"hash": "f" * 64}])
def test_the_database_refuses_updates(change: dict[str, object]) -> None:
    event = record_three()[1]
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        AuditEvent.objects.filter(pk=event.pk).update(**change)
    assert audit_chain_check() is None


def test_the_database_refuses_deletes() -> None:
    record_three()
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        AuditEvent.objects.all().delete()
    assert AuditEvent.objects.count() == 3


def test_an_event_cannot_move_to_another_customer_but_outlives_its_own() -> None:
    event = record_three()[0]
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        AuditEvent.objects.filter(pk=event.pk).update(organization=make_organization())
    assert event.organization is not None
    event.organization.delete()
    event.refresh_from_db()
    assert event.organization is None
    assert audit_chain_check() is None


def test_tampering_past_the_triggers_is_located() -> None:
    events = record_three()
    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER portal_auditevent_no_update")
    AuditEvent.objects.filter(pk=events[1].pk).update(reason="nothing to see")
    assert audit_chain_check() == events[1].pk
