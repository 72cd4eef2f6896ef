"""Keys: what is stored, what is shown, how they end."""

from datetime import timedelta

import pytest
from django.test import override_settings

from gateway.contracts.api_keys import key_hash, parse_key
from portal.errors import (
    CredentialEndedError,
    InputInvalidError,
    MailUnverifiedError,
    NotFoundError,
    SealBrokenError,
)
from portal.models import Api, AuditEvent, Credential, Environment, SnapshotDirty, User
from portal.services.credentials import (
    MAX_KEYS,
    IssuedCredential,
    credential_create,
    credential_reveal_test,
    credential_revoke,
    credential_rotate,
)
from tests.factories.portal import NOW, api, cast, consumer, key, later, member, organization

pytestmark = pytest.mark.django_db


def changes() -> int:
    row = SnapshotDirty.objects.filter(pk=1).first()
    return row.changes if row else 0


def create(environment: str, actor: User | None) -> IssuedCredential:
    return credential_create(
        consumer=consumer(organization()),
        name="Server",
        environment=environment,
        actor=actor,
        now=NOW,
    )


def test_a_live_secret_is_stored_as_a_hash_only() -> None:
    issued = create(Environment.LIVE, None)
    row = Credential.objects.get(pk=issued.credential.pk)
    parsed = parse_key(issued.secret)
    assert parsed is not None
    assert parsed.environment == "live"
    assert row.key_hash == key_hash(issued.secret)
    assert row.sealed_secret == ""
    stored = [str(getattr(row, f.attname)) for f in Credential._meta.concrete_fields]
    assert issued.secret not in "".join(stored)
    assert issued.secret.startswith(row.prefix)
    assert issued.secret.endswith(row.last4)
    with pytest.raises(NotFoundError):
        credential_reveal_test(credential=row)


def test_a_test_secret_is_sealed_and_can_be_shown_again() -> None:
    issued = create(Environment.TEST, None)
    row = Credential.objects.get(pk=issued.credential.pk)
    assert issued.secret.startswith("tw_test_")
    assert issued.secret not in row.sealed_secret
    assert credential_reveal_test(credential=row) == issued.secret
    with override_settings(SECRET_KEY="another-key"), pytest.raises(SealBrokenError):
        credential_reveal_test(credential=row)


def test_a_sandbox_mints_its_own_live_keys() -> None:
    assert create(Environment.LIVE, None).secret.startswith("tw_sbx_")


def test_unverified_mail_blocks_live_keys_only() -> None:
    org = organization()
    person = member(org, verified=False).user
    assert create(Environment.TEST, person).secret
    before = (Credential.objects.count(), changes(), AuditEvent.objects.count())
    with pytest.raises(MailUnverifiedError):
        create(Environment.LIVE, person)
    after = (Credential.objects.count(), changes(), AuditEvent.objects.count())
    assert after == before


def test_creating_is_audited_without_the_secret_and_marks_the_snapshot() -> None:
    before = changes()
    who = cast()
    issued = create(Environment.TEST, who.alice.user)
    event = AuditEvent.objects.get(action="key.create", target=issued.credential.pk)
    assert event.actor == who.alice.user
    assert event.after is not None
    assert event.after["shown"] == str(issued.credential)
    assert issued.secret not in str(event.after)
    assert changes() == before + 1


def test_revoking_ends_a_key_once() -> None:
    issued = key(organization())
    credential_revoke(credential=issued.credential, actor=None, now=NOW)
    row = Credential.objects.get(pk=issued.credential.pk)
    assert row.revoked_at == NOW
    assert row.sealed_secret == ""
    with pytest.raises(CredentialEndedError):
        credential_revoke(credential=issued.credential, actor=None, now=later(hours=1))
    assert AuditEvent.objects.filter(action="key.revoke").count() == 1


@pytest.mark.parametrize(
    ("case", "overlap", "own_expiry", "expires_at", "revoked_at"),
    [
        ("now", timedelta(0), None, None, NOW),
        ("a day", timedelta(days=1), None, later(days=1), None),
        ("capped at its own expiry", timedelta(days=7), later(days=2), later(days=2), None),
    ],
)
def test_rotation_ends_the_old_key(
    case: str, overlap: timedelta, own_expiry: object, expires_at: object, revoked_at: object
) -> None:
    old = key(organization(), expires_at=own_expiry)  # type: ignore[arg-type]
    new = credential_rotate(
        credential=old.credential, overlap=overlap, actor=None, now=NOW, wall=NOW
    )
    row = Credential.objects.get(pk=old.credential.pk)
    assert (row.expires_at, row.revoked_at) == (expires_at, revoked_at), case
    assert row.rotated_to == new.credential
    assert new.credential.name == old.credential.name
    assert new.secret != old.secret


def test_a_key_is_rotated_once() -> None:
    old = key(organization())
    credential_rotate(
        credential=old.credential, overlap=timedelta(days=1), actor=None, now=NOW, wall=NOW
    )
    stale = old.credential
    stale.refresh_from_db()
    before = Credential.objects.count()
    with pytest.raises(CredentialEndedError):
        credential_rotate(
            credential=stale, overlap=timedelta(days=1), actor=None, now=NOW, wall=NOW
        )
    assert Credential.objects.count() == before


def test_a_key_holds_the_chosen_scopes_and_its_successor_too() -> None:
    api(scopes=("maps:read", "maps:write"))
    org = organization()
    assert key(org).credential.scopes == []
    old = key(org, scopes=("maps:write", "maps:read", "maps:write")).credential
    assert old.scopes == ["maps:read", "maps:write"]
    made = AuditEvent.objects.get(action="key.create", target=old.pk)
    assert made.after is not None
    assert made.after["scopes"] == old.scopes
    Api.objects.update(is_published=False)  # what a key holds does not depend on today's routes
    new = credential_rotate(
        credential=old, overlap=timedelta(0), actor=None, now=NOW, wall=NOW
    ).credential
    assert new.scopes == old.scopes


@pytest.mark.parametrize("published", [True, False])
def test_a_scope_that_no_published_route_requires_is_refused(published: bool) -> None:
    api(scopes=("maps:read",), published=published)
    org = organization()
    before = (Credential.objects.count(), changes(), AuditEvent.objects.count())
    with pytest.raises(InputInvalidError) as error:
        key(org, scopes=("maps:read", "maps:all"))
    named = [problem.message.rpartition(": ")[0] for problem in error.value.problems]
    assert named == (["maps:all"] if published else ["maps:all", "maps:read"])
    assert {(p.path, p.code) for p in error.value.problems} == {("scopes", "unknown_scope")}
    assert (Credential.objects.count(), changes(), AuditEvent.objects.count()) == before


def test_an_organization_holds_a_thousand_keys_at_most() -> None:
    org = organization()
    first = key(org).credential
    filler = [
        Credential(
            consumer=first.consumer,
            name="k",
            environment="test",
            key_hash=f"{number:064x}",
            prefix="tw_test_ab",
            last4="abcd",
            created_at=NOW,
            revoked_at=NOW if number % 2 else None,  # gateways still hold it
        )
        for number in range(MAX_KEYS - 1)
    ]
    Credential.objects.bulk_create(filler)
    with pytest.raises(InputInvalidError, match="1000 keys"):
        key(org)
    assert credential_rotate(
        credential=first, overlap=timedelta(0), actor=None, now=NOW, wall=NOW
    ).secret
    assert key(organization()).credential.pk
    assert key(org, now=later(days=31)).credential.pk
