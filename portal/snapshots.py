"""Marks that the gateways' snapshot is out of date; building and publishing it comes here too."""

from django.db.models import F

from portal.models import SnapshotDirty


def snapshot_touch() -> None:
    """Count one more change, in the caller's transaction, so that a publisher builds anew."""
    SnapshotDirty.objects.get_or_create(pk=1)
    SnapshotDirty.objects.filter(pk=1).update(changes=F("changes") + 1)
