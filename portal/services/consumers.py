"""Applications of a customer (consumers): make, rename, deactivate, activate.

Nothing is deleted, because usage names the consumer for good. The username reaches upstreams as
`X-Consumer-Username` and is therefore given once. Every change is audited and marks the snapshot,
in one transaction; the organization's row is locked first, so that what is counted stays true.
"""

import secrets
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final

from django.db import IntegrityError, transaction

from portal.core.catalog_input import read_consumer
from portal.core.checked_input import Fields, Problem
from portal.errors import ConsumerLimitError, InputInvalidError, LastConsumerError
from portal.models import Consumer, Credential, Organization, User
from portal.selectors import key_works
from portal.services.audit import audit_record
from portal.services.organizations import build_slug
from portal.snapshots import snapshot_touch

CONSUMERS_MAX: Final = 100  # per organization, deactivated ones included: all are in each snapshot
DETAIL_FIELDS: Final = ("name", "custom_id")
_SUFFIX_BYTES: Final = 3


def _read(values: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    problems: list[Problem] = []
    sent = {name: value for name, value in values.items() if value != ""}
    fields = read_consumer(Fields.read(sent, "", problems, known), username_required=False)
    if problems:
        raise InputInvalidError(problems)
    return {name: fields[name] for name in known}


def _lock(organization_id: str) -> None:
    Organization.objects.select_for_update().get(pk=organization_id)


@transaction.atomic
def consumer_create(
    *, organization: Organization, values: Mapping[str, Any], actor: User | None, now: datetime
) -> Consumer:
    """Add an application: `name`, and if wanted `username` and `custom_id`.

    Without a username it gets one made of the organization's URL name.

    :raises InputInvalidError: with every problem, a username that is taken among them.
    :raises ConsumerLimitError: when the organization has `CONSUMERS_MAX` of them.
    """
    fields = _read(values, ("username", *DETAIL_FIELDS))
    suffix = secrets.token_hex(_SUFFIX_BYTES)
    fields["username"] = fields["username"] or f"{build_slug(organization.slug)}-{suffix}"
    _lock(organization.pk)
    if organization.consumers.count() >= CONSUMERS_MAX:
        raise ConsumerLimitError
    try:
        with transaction.atomic():
            made = Consumer.objects.create(organization=organization, created_at=now, **fields)
    except IntegrityError as error:
        raise InputInvalidError([("username", "taken", "is taken; choose another one")]) from error
    _note(made, "consumer.create", actor=actor, now=now, after=fields)
    return made


@transaction.atomic
def consumer_update(
    *, consumer: Consumer, values: Mapping[str, Any], actor: User | None, now: datetime
) -> None:
    """Change `name` and `custom_id`; fields left out stay. Nothing is written if all stay.

    :raises InputInvalidError: with every problem; the username is fixed.
    """
    if "username" in values:
        raise InputInvalidError([("username", "fixed", "cannot change: upstreams know it")])
    before = {name: getattr(consumer, name) for name in DETAIL_FIELDS}
    after = _read(before | dict(values), DETAIL_FIELDS)
    if before == after:
        return
    for name, value in after.items():
        setattr(consumer, name, value)
    consumer.save(update_fields=list(after))
    _note(consumer, "consumer.update", actor=actor, now=now, before=before, after=after)


def is_last_in_use(consumer: Consumer, *, wall: datetime) -> bool:
    """Say whether no other application is active and keys of this one work by machine time."""
    active = Consumer.objects.filter(organization_id=consumer.organization_id, is_active=True)
    if list(active.values_list("pk", flat=True)) != [consumer.pk]:
        return False
    return Credential.objects.filter(key_works(wall), consumer=consumer).exists()


@transaction.atomic
def consumer_deactivate(
    *,
    consumer: Consumer,
    actor: User | None,
    now: datetime,
    keep_last_at: datetime | None,
    reason: str = "",
) -> None:
    """Let every gateway refuse the application's keys within a second; again changes nothing.

    keep_last_at   the machine's time, to keep the last one whose keys work then; None = stop it
                   although no key of the organization works any more

    :raises LastConsumerError: for the last one while keys of it work.
    """
    _lock(consumer.organization_id)
    if keep_last_at is not None and is_last_in_use(consumer, wall=keep_last_at):
        raise LastConsumerError
    _switch(consumer, active=False, actor=actor, now=now, reason=reason)


@transaction.atomic
def consumer_activate(
    *, consumer: Consumer, actor: User | None, now: datetime, reason: str = ""
) -> None:
    """Let the application's keys work again, those that have not ended; again changes nothing."""
    _switch(consumer, active=True, actor=actor, now=now, reason=reason)


def _switch(
    consumer: Consumer, *, active: bool, actor: User | None, now: datetime, reason: str
) -> None:
    rows = Consumer.objects.filter(pk=consumer.pk, is_active=not active)
    if rows.update(is_active=active) != 1:
        return
    consumer.is_active = active
    action = "consumer.activate" if active else "consumer.deactivate"
    _note(consumer, action, actor=actor, now=now, reason=reason)


def _note(
    consumer: Consumer, action: str, *, actor: User | None, now: datetime, **content: Any
) -> None:
    """Audit a change and mark the snapshot."""
    audit_record(
        actor=actor,
        action=action,
        target=consumer.pk,
        now=now,
        organization=consumer.organization,
        **content,
    )
    snapshot_touch()
