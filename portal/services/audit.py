"""The audit log's one writer: append-only rows, each hashed over the one before it.

Called inside the transaction of the change it records, so that neither is kept without the other.
The database refuses updates and deletes by trigger; the chain makes removal by other means show.
"""

import hashlib
import json
from datetime import datetime
from typing import Any, Final

from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection, transaction

from gateway.contracts.access_log import format_time
from portal.models import AuditEvent, Organization, User

GENESIS_HASH: Final = "0" * 64
MAX_LABEL_CHARS: Final = 160  # a longer address is cut; who it was says the actor's id
_LOCK_KEY: Final = 7_218_001  # PostgreSQL advisory lock: one writer of the chain at a time


def _plain(value: Any) -> Any:
    """Turn dates and decimals into JSON values, so that what is hashed is what is stored."""
    return json.loads(json.dumps(value, cls=DjangoJSONEncoder))


def build_event_hash(
    *,
    previous_hash: str,
    at: datetime,
    actor_label: str,
    action: str,
    target: str,
    before: Any,
    after: Any,
    reason: str,
) -> str:
    """Hash an event's content behind its predecessor's hash (SHA-256 of canonical JSON, hex)."""
    content = [previous_hash, format_time(at), actor_label, action, target, before, after, reason]
    body = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(body.encode()).hexdigest()


def audit_record(
    *,
    actor: User | None,
    action: str,
    target: str,
    now: datetime,
    organization: Organization | None = None,
    before: Any = None,
    after: Any = None,
    reason: str = "",
    actor_label: str = "",
) -> AuditEvent:
    """Append one event; `actor_label` names a token or command where there is no user."""
    label = (actor_label or (actor.email if actor else "system"))[:MAX_LABEL_CHARS]
    content = {
        "actor_label": label,
        "action": action,
        "target": target,
        "before": _plain(before),
        "after": _plain(after),
        "reason": reason[:300],
    }
    with transaction.atomic():
        _chain_lock()
        last = AuditEvent.objects.order_by("-id").values_list("hash", flat=True).first()
        previous = last or GENESIS_HASH
        return AuditEvent.objects.create(
            at=now,
            actor=actor,
            organization=organization,
            previous_hash=previous,
            hash=build_event_hash(previous_hash=previous, at=now, **content),
            **content,
        )


def _chain_lock() -> None:
    """Let one transaction at a time append; SQLite's IMMEDIATE transactions already do."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK_KEY])


def audit_chain_check() -> int | None:
    """Return the id of the first event that does not follow from the one before, or None."""
    previous = GENESIS_HASH
    for event in AuditEvent.objects.order_by("id").iterator(chunk_size=2000):
        expected = build_event_hash(
            previous_hash=previous,
            at=event.at,
            actor_label=event.actor_label,
            action=event.action,
            target=event.target,
            before=event.before,
            after=event.after,
            reason=event.reason,
        )
        if event.previous_hash != previous or event.hash != expected:
            return event.pk
        previous = event.hash
    return None
