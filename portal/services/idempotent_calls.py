"""Calls that are carried out once per key of the caller: claim, keep the answer, let go, forget.

A claim is a row of its own that is committed before the work begins, so that a twin sees it. The
answer is kept in the transaction of the work, and only while the claim is still held: whoever was
overtaken (see `LEASE`) is rolled back. A crash therefore leaves a claim and no effect, and the
claim runs out. Answers are sealed with the caller's key, which is stored as a hash only: some hold
a secret that nobody else may see, the installation included.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from portal.errors import IdempotencyBusyError, IdempotencyReusedError
from portal.models import IdempotentCall, User
from portal.models.fields import new_id
from portal.services.sealing import seal, unseal

LEASE: Final = timedelta(minutes=5)  # a call that has not ended by then may be carried out anew
KEPT_FOR: Final = timedelta(hours=24)  # from the end of the call
_PURGE_AT_ONCE: Final = 1_000


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to carry a call out; `key` seals its answer."""

    id: str
    scope: str
    key: str


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    status: int
    media: str
    body: str


def build_scope(*, user_id: str, method: str, path: str, key: str) -> str:
    """Return what one key stands for: SHA-256 over caller, method, path and key, hex."""
    return hashlib.sha256(json.dumps([user_id, method, path, key]).encode()).hexdigest()


def call_claim(
    *, user: User, method: str, path: str, key: str, request_hash: str, wall: datetime
) -> Claim | KeptAnswer:
    """Claim a call, or return the answer it has had.

    request_hash   of all that was asked for, body and query
    wall           the machine's time; what has run out counts as never claimed

    :raises IdempotencyReusedError: when the key stands for another body.
    :raises IdempotencyBusyError: while the first call is under way.
    """
    scope = build_scope(user_id=user.pk, method=method, path=path, key=key)
    claim = Claim(new_id("call"), scope, key)
    fresh = {"claim": claim.id, "request_hash": request_hash, "expires_at": wall + LEASE}
    rows = IdempotentCall.objects.filter(scope=scope)
    IdempotentCall.objects.bulk_create(
        [IdempotentCall(scope=scope, user=user, **fresh)], ignore_conflicts=True
    )
    rows.filter(expires_at__lte=wall).update(status=None, media="", sealed_answer="", **fresh)
    held = rows.first()
    if held is None:  # the first one has just let go
        raise IdempotencyBusyError
    if held.claim == claim.id:
        return claim
    if held.request_hash != request_hash:
        raise IdempotencyReusedError
    if held.status is None:
        raise IdempotencyBusyError
    return KeptAnswer(held.status, held.media, unseal(held.sealed_answer, word=key))


def call_keep(claim: Claim, answer: KeptAnswer, *, wall: datetime) -> None:
    """Keep the answer for `KEPT_FOR`; called in the transaction of the work.

    :raises IdempotencyBusyError: when another one has claimed the call; the work must not stay.
    """
    held = IdempotentCall.objects.filter(scope=claim.scope, claim=claim.id)
    kept = held.update(
        status=answer.status,
        media=answer.media,
        sealed_answer=seal(answer.body, word=claim.key),
        expires_at=wall + KEPT_FOR,
    )
    if kept != 1:
        raise IdempotencyBusyError


def call_let_go(claim: Claim) -> None:
    """Forget a call that was refused or failed, so that its key can be tried again."""
    IdempotentCall.objects.filter(scope=claim.scope, claim=claim.id).delete()


def calls_purge(*, wall: datetime) -> int:
    """Delete what has run out, in portions; return how many rows went."""
    total = 0
    while True:
        rows = IdempotentCall.objects.filter(expires_at__lte=wall).order_by("expires_at")
        ids = list(rows.values_list("pk", flat=True)[:_PURGE_AT_ONCE])
        if not ids:
            return total
        gone, _ = IdempotentCall.objects.filter(pk__in=ids, expires_at__lte=wall).delete()
        total += gone
