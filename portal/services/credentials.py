"""API keys: make, rotate, revoke, show a test key again.

The key text is built by `gateway.contracts.api_keys`. Stored are its hash, the start that may be
shown and its last four characters; a test key also sealed. Every change is audited and marks the
snapshot, in one transaction.
"""

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from allauth.account.models import EmailAddress
from django.conf import settings
from django.db import transaction

from gateway.contracts.api_keys import build_key, key_hash, parse_key
from gateway.contracts.snapshot import MAX_CREDENTIAL_SCOPES
from portal.core.checked_input import Problem
from portal.errors import (
    CredentialEndedError,
    InputInvalidError,
    MailUnverifiedError,
    NotFoundError,
)
from portal.models import Consumer, Credential, Environment, User
from portal.selectors import scopes_required
from portal.services.audit import audit_record
from portal.services.sealing import seal, unseal
from portal.snapshots import FORGET_AFTER, snapshot_touch

RANDOM_BYTES: Final = 24
LAST_CHARS: Final = 4
MAX_KEYS: Final = 1_000  # of an organization: every gateway holds every key of everybody


@dataclass(frozen=True, slots=True)
class IssuedCredential:
    """A new key; `secret` is the only copy of a live one."""

    credential: Credential
    secret: str


def key_kind(environment: str) -> str:
    """Return the kind of key to mint: a sandbox's live keys are its own and worth nothing else."""
    if environment == Environment.TEST:
        return "test"
    return "sbx" if settings.ENV.sandbox else "live"


def has_verified_mail(user: User) -> bool:
    return bool(EmailAddress.objects.filter(user=user, verified=True).exists())


def _audited(credential: Credential) -> dict[str, Any]:
    return {
        "name": credential.name,
        "environment": credential.environment,
        "shown": str(credential),
        "consumer": credential.consumer_id,
        "scopes": credential.scopes,
        "ip_allow": credential.ip_allow,
        "expires_at": credential.expires_at,
    }


def _mint(*, like: Credential) -> IssuedCredential:
    """Give an unsaved credential a fresh secret and save it."""
    secret = build_key(key_kind(like.environment), secrets.token_bytes(RANDOM_BYTES))
    parsed = parse_key(secret)
    assert parsed is not None, "a key we built must parse"  # noqa: S101 - our own contract
    like.key_hash = key_hash(secret)
    like.prefix = parsed.shown
    like.last4 = secret[-LAST_CHARS:]
    like.sealed_secret = seal(secret) if like.environment == Environment.TEST else ""
    like.save(force_insert=True)
    return IssuedCredential(like, secret)


def _check_mail(environment: str, actor: User | None) -> None:
    if environment == Environment.LIVE and actor is not None and not has_verified_mail(actor):
        raise MailUnverifiedError


def _check_room(consumer: Consumer, *, now: datetime, most: int = MAX_KEYS) -> None:
    """Refuse one key too many, ended ones included: gateways hold them for a while yet."""
    held = Credential.objects.filter(consumer__organization=consumer.organization_id)
    since = now - FORGET_AFTER
    if held.exclude(revoked_at__lt=since).exclude(expires_at__lt=since).count() >= most:
        text = f"must be {most} keys of an organization at most, ended ones of 30 days included"
        raise InputInvalidError([Problem("name", "too_many", text)])


def _check_scopes(scopes: Collection[str]) -> list[str]:
    """Return the scopes in order; refuse one that no published route requires."""
    found = sorted(set(scopes))
    known = scopes_required() if found else {}
    problems = [
        Problem("scopes", "unknown_scope", f"{scope}: no published route requires it")
        for scope in found
        if scope not in known
    ]
    if len(found) > MAX_CREDENTIAL_SCOPES:
        problems.append(Problem("scopes", "too_many", f"must be {MAX_CREDENTIAL_SCOPES} at most"))
    if problems:
        raise InputInvalidError(problems)
    return found


@transaction.atomic
def credential_create(
    *,
    consumer: Consumer,
    name: str,
    environment: str,
    actor: User | None,
    now: datetime,
    scopes: tuple[str, ...] = (),
    ip_allow: tuple[str, ...] = (),
    expires_at: datetime | None = None,
) -> IssuedCredential:
    """Make a key and return its secret, which for a live key is never seen again.

    A live key works once a subscription is active; it may be made before. `actor=None` is the
    installation itself (seeding, configuration).

    :raises MailUnverifiedError: for a live key while the actor's address is not verified.
    :raises InputInvalidError: for scopes that no published route requires, or one key too many.
    """
    _check_mail(environment, actor)
    _check_room(consumer, now=now)
    held = _check_scopes(scopes)
    issued = _mint(
        like=Credential(
            consumer=consumer,
            name=name,
            environment=environment,
            scopes=held,
            ip_allow=list(ip_allow),
            created_by=actor,
            created_at=now,
            expires_at=expires_at,
        )
    )
    audit_record(
        actor=actor,
        action="key.create",
        target=issued.credential.pk,
        now=now,
        organization=consumer.organization,
        after=_audited(issued.credential),
    )
    snapshot_touch()
    return issued


def is_ended(credential: Credential, *, wall: datetime) -> bool:
    """Say whether a key no longer works: revoked, or its expiry has come.

    wall   the machine's time: gateways judge keys by it, whatever the sandbox's clock says
    """
    over = credential.expires_at is not None and credential.expires_at <= wall
    return credential.revoked_at is not None or over


@transaction.atomic
def credential_revoke(
    *, credential: Credential, actor: User | None, now: datetime, reason: str = ""
) -> None:
    """End a key at once; every gateway refuses it within a second.

    :raises CredentialEndedError: if it was revoked before.
    """
    rows = Credential.objects.filter(pk=credential.pk, revoked_at__isnull=True)
    if rows.update(revoked_at=now, sealed_secret="") != 1:
        raise CredentialEndedError
    audit_record(
        actor=actor,
        action="key.revoke",
        target=credential.pk,
        now=now,
        organization=credential.consumer.organization,
        before=_audited(credential),
        reason=reason,
    )
    snapshot_touch()


@transaction.atomic
def credential_rotate(
    *,
    credential: Credential,
    overlap: timedelta,
    actor: User | None,
    now: datetime,
    wall: datetime,
) -> IssuedCredential:
    """Make a successor with the same name, scopes and addresses; the old key ends after `overlap`.

    wall   the machine's time, from which the overlap counts, as in `is_ended`

    The old key never outlives its own expiry; with no overlap it is revoked at once.

    :raises CredentialEndedError: if it has ended or was rotated before.
    :raises MailUnverifiedError: as for a new key.
    """
    _check_mail(credential.environment, actor)
    if is_ended(credential, wall=wall):
        raise CredentialEndedError
    _check_room(credential.consumer, now=now, most=2 * MAX_KEYS)  # a full house can still rotate
    issued = _mint(
        like=Credential(
            consumer=credential.consumer,
            name=credential.name,
            environment=credential.environment,
            scopes=credential.scopes,
            ip_allow=credential.ip_allow,
            created_by=actor,
            created_at=now,
            expires_at=credential.expires_at,
        )
    )
    ends_at = min(filter(None, (credential.expires_at, wall + overlap)))
    ending: dict[str, Any] = {"expires_at": ends_at} if overlap else {"revoked_at": now}
    rows = Credential.objects.filter(
        pk=credential.pk, rotated_to__isnull=True, revoked_at__isnull=True
    )
    if rows.update(rotated_to=issued.credential, **ending) != 1:
        raise CredentialEndedError
    audit_record(
        actor=actor,
        action="key.rotate",
        target=credential.pk,
        now=now,
        organization=credential.consumer.organization,
        before=_audited(credential),
        after={**_audited(issued.credential), "successor": issued.credential.pk, "ends": ends_at},
    )
    snapshot_touch()
    return issued


def credential_reveal_test(*, credential: Credential) -> str:
    """Return a test key's text. It reads only, so nothing is audited.

    :raises NotFoundError: for a live key, which nobody can show.
    :raises SealBrokenError: if the installation's secret key has changed since.
    """
    if credential.environment != Environment.TEST or not credential.sealed_secret:
        raise NotFoundError
    return unseal(credential.sealed_secret)
