"""Triggers and the audit chain's lock, on a real PostgreSQL."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import dj_database_url
import psycopg
import pytest
from django.core.management import call_command
from django.db import DEFAULT_DB_ALIAS, IntegrityError, connections, transaction
from pytest_django import DjangoDbBlocker

from portal.models import AuditEvent, PlanVersion, Subscription
from portal.services.audit import audit_chain_check, audit_record
from portal.snapshots import snapshot_publish, snapshot_touch
from tests.factories.provider import NOW, make_api, make_organization, make_plan_version


@pytest.fixture
def _postgres(
    postgres_url: str, django_db_blocker: DjangoDbBlocker, tmp_path: Path
) -> Iterator[None]:
    """Make a fresh PostgreSQL database the default one for a test."""
    name = f"t{uuid4().hex[:12]}"
    with psycopg.connect(postgres_url, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}")
    parsed: dict[str, Any] = {**dj_database_url.parse(postgres_url), "NAME": name}
    defaults = connections.databases[DEFAULT_DB_ALIAS]
    with django_db_blocker.unblock():
        original = connections[DEFAULT_DB_ALIAS]
        connections.databases[DEFAULT_DB_ALIAS] = {**defaults, "OPTIONS": {}, **parsed}
        del connections[DEFAULT_DB_ALIAS]
        try:
            call_command("migrate", verbosity=0)
            yield
        finally:
            connections.close_all()
            connections.databases[DEFAULT_DB_ALIAS] = defaults
            connections[DEFAULT_DB_ALIAS] = original
    with psycopg.connect(postgres_url, autocommit=True) as server:
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.timeout(60)
@pytest.mark.usefixtures("_postgres")
def test_postgres_keeps_what_must_not_change() -> None:
    assert connections[DEFAULT_DB_ALIAS].vendor == "postgresql"
    organization = make_organization()
    for index in range(3):
        audit_record(
            actor=None, action="a", target=f"t{index}", now=NOW, organization=organization
        )
    for change in (
        lambda: AuditEvent.objects.update(reason="other"),
        lambda: AuditEvent.objects.all().delete(),
        lambda: AuditEvent.objects.update(organization=make_organization()),
    ):
        with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
            change()
    organization.delete()
    assert not AuditEvent.objects.filter(organization__isnull=False).exists()
    assert audit_chain_check() is None

    for question in ({"pk": "a\0b"}, {"pk__in": ["\0"]}, {"organization_id": "\0"}):
        assert not Subscription.objects.filter(**question).exists()
    version = make_plan_version(make_api())
    with pytest.raises(IntegrityError, match="never changed"), transaction.atomic():
        PlanVersion.objects.filter(pk=version.pk).update(note="cheaper")
    with pytest.raises(IntegrityError, match="never changed"), transaction.atomic():
        PlanVersion.objects.filter(pk=version.pk).delete()
    snapshot_touch()
    assert snapshot_publish(now=NOW) == 1
    assert snapshot_publish(now=NOW) == 1
    _record_from_many_threads()
    assert audit_chain_check() is None


def _record_from_many_threads() -> None:
    """Append from eight connections at once: the chain must still be one line."""

    def append() -> None:
        try:
            for index in range(5):
                audit_record(actor=None, action="b", target=str(index), now=NOW)
        finally:
            connections.close_all()

    before = AuditEvent.objects.count()
    threads = [threading.Thread(target=append) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert AuditEvent.objects.count() == before + 40
