"""Tokens for the REST API: made once, stored as a hash, found again, ended.

A token acts for a person. `read` and `write` say what it may do, `admin` and `finance` open the
provider's side to people who hold that role; the person's roles are checked at every call, so a
token never does more than its owner could at that moment.
"""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction
from django.db.models import Q

from portal.errors import InputInvalidError
from portal.models import ApiToken, StaffRole, User
from portal.services.audit import audit_record

PREFIX: Final = "tw_pat_"
RANDOM_BYTES: Final = 32
SCOPES_BY_ROLE: Final = {
    StaffRole.NONE: ("read", "write"),
    StaffRole.FINANCE: ("read", "write", "finance"),
    StaffRole.ADMIN: ("read", "write", "admin", "finance"),
}
_NOTE_USE_EVERY: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A new token; `secret` is its only copy."""

    token: ApiToken
    secret: str


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


@transaction.atomic
def api_token_create(
    *,
    user: User,
    name: str,
    scopes: Sequence[str],
    expires_at: datetime | None,
    wall: datetime,
    now: datetime,
    actor_label: str = "",
) -> IssuedToken:
    """Make a token; without scopes it gets all that the person's role allows.

    wall   the machine's time: credentials live by it, not by the sandbox's clock

    :raises InputInvalidError: for a scope beyond the role, or an expiry that has passed.
    """
    allowed = SCOPES_BY_ROLE[StaffRole(user.staff_role)]
    chosen = [scope for scope in allowed if not scopes or scope in scopes]
    beyond = sorted(set(scopes) - set(allowed))
    problems = [("scopes", "not_a_choice", f"{s} is not open to this person") for s in beyond]
    if expires_at is not None and expires_at <= wall:
        problems.append(("expires_at", "in_the_past", "must be in the future"))
    if problems:
        raise InputInvalidError(problems)
    secret = PREFIX + secrets.token_urlsafe(RANDOM_BYTES)
    token = ApiToken.objects.create(
        user=user,
        name=name,
        token_hash=_hash(secret),
        last4=secret[-4:],
        scopes=chosen,
        created_at=wall,
        expires_at=expires_at,
    )
    audit_record(
        actor=user,
        actor_label=actor_label,
        action="token.create",
        target=token.pk,
        after={"name": name, "scopes": chosen, "user": user.pk, "expires_at": expires_at},
        now=now,
    )
    return IssuedToken(token, secret)


def api_token_find(*, secret: str, wall: datetime) -> ApiToken | None:
    """Return the token behind a secret if it works now, and note its use once a minute.

    The lookup is by hash, so its time tells nothing about the secret; the comparison after it is
    constant in time all the same.
    """
    wanted = _hash(secret)
    token = ApiToken.objects.select_related("user").filter(token_hash=wanted).first()
    if token is None or not hmac.compare_digest(token.token_hash, wanted):
        return None
    over = token.expires_at is not None and token.expires_at <= wall
    if over or token.revoked_at is not None or not token.user.is_active:
        return None
    before = wall - _NOTE_USE_EVERY
    stale = Q(last_used_at__isnull=True) | Q(last_used_at__lt=before)
    ApiToken.objects.filter(stale, pk=token.pk).update(last_used_at=wall)
    return token


@transaction.atomic
def api_token_revoke(*, token: ApiToken, wall: datetime, now: datetime) -> None:
    """End a token at once; a second time changes nothing."""
    rows = ApiToken.objects.filter(pk=token.pk, revoked_at__isnull=True)
    if rows.update(revoked_at=wall) == 1:
        audit_record(actor=token.user, action="token.revoke", target=token.pk, now=now)
