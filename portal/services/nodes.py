"""Gateway nodes: known from their first poll, expected until retired or written off.

`expected_boots` is what the watermark waits for (`architecture.md` §4.5). Retiring and writing
off name an instant: a boot that the portal heard of later opens the node again.
"""

from datetime import datetime

from django.db import transaction

from metering.queries import ExpectedBoot
from portal.errors import NotFoundError
from portal.models import Node, NodeBoot, User
from portal.services.audit import audit_record


def node_poll_record(
    *,
    node_id: str,
    boot: str,
    worker: int,
    acknowledged_version: int,
    refused_version: int | None,
    refused_reason: str,
    now: datetime,
    wall: datetime,
) -> None:
    """Note a poll: who asked, what it holds, what it refused.

    now    product time, from which a new boot must be proven
    wall   when it was seen
    """
    seen = {
        "last_seen_at": wall,
        "acknowledged_version": acknowledged_version,
        "refused_version": refused_version,
        "refused_reason": refused_reason[:300],
    }
    boots = NodeBoot.objects.filter(node=node_id, boot=boot, worker=worker)
    if boots.update(**seen) == 0:
        Node.objects.get_or_create(
            pk=node_id, defaults={"first_seen_at": now, "last_seen_at": wall}
        )
        NodeBoot.objects.get_or_create(
            node_id=node_id, boot=boot, worker=worker, defaults={"first_seen_at": now, **seen}
        )
    Node.objects.filter(pk=node_id).update(last_seen_at=wall)


def expected_boots() -> list[ExpectedBoot]:
    """Return every boot that usage must be complete for, oldest first."""
    return [
        ExpectedBoot(
            node=boot.node_id,
            boot=boot.boot,
            worker=boot.worker,
            opened_at=boot.first_seen_at,
            retired=_ended(boot.node.retired_at, boot),
            written_off=_ended(boot.node.written_off_at, boot),
        )
        for boot in NodeBoot.objects.select_related("node").order_by("first_seen_at", "id")
    ]


def _ended(at: datetime | None, boot: NodeBoot) -> bool:
    return at is not None and boot.first_seen_at <= at


def node_retire(*, node_id: str, actor: User | None, now: datetime, actor_label: str = "") -> None:
    """Say that a node is gone for good; what it wrote must still be proven to its end.

    :raises NotFoundError: for an unknown node.
    """
    with transaction.atomic():
        if Node.objects.filter(pk=node_id).update(retired_at=now) != 1:
            raise NotFoundError
        audit_record(
            actor=actor, actor_label=actor_label, action="node.retire", target=node_id, now=now
        )


def node_write_off(
    *, node_id: str, actor: User | None, reason: str, now: datetime, actor_label: str = ""
) -> None:
    """Stop waiting for a node: what it has not delivered may be lost, and the watermark moves on.

    :raises NotFoundError: for an unknown node.
    """
    with transaction.atomic():
        if Node.objects.filter(pk=node_id).update(written_off_at=now) != 1:
            raise NotFoundError
        audit_record(
            actor=actor,
            actor_label=actor_label,
            action="node.write_off",
            target=node_id,
            reason=reason,
            now=now,
        )
