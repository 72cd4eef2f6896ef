"""Breaks that a reconciliation or an event found; they block until a person resolves them."""

from datetime import datetime

from django.db import transaction

from billing.models import Finding, Invoice
from portal.models import User
from portal.services.audit import audit_record


def finding_open(
    *,
    key: str,
    kind: str,
    detail: str,
    now: datetime,
    invoice: Invoice | None = None,
    organization_id: str | None = None,
) -> Finding:
    """Keep a break under its key; seen again it is the same row, and stays resolved if it was.

    While it is open it blocks the next close of its organization.
    """
    finding, _ = Finding.objects.get_or_create(
        key=key[:200],
        defaults={
            "organization_id": invoice.organization_id if invoice else organization_id,
            "invoice": invoice,
            "kind": kind,
            "detail": detail[:500],
            "found_at": now,
        },
    )
    return finding


def finding_resolve(*, finding_id: str, reason: str, actor: User, now: datetime) -> None:
    """Close a finding with a reason, audited; one that is closed stays as it is."""
    finding = Finding.objects.select_related("organization").get(pk=finding_id)
    with transaction.atomic():
        rows = Finding.objects.filter(pk=finding_id, resolved_at__isnull=True)
        if rows.update(resolved_at=now, resolution=reason[:300]) != 1:
            return
        audit_record(
            actor=actor,
            action="finding.resolve",
            target=finding_id,
            now=now,
            organization=finding.organization,
            reason=reason,
        )
