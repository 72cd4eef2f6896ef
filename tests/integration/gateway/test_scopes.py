"""Scopes of routes and keys, published by the portal, and what a gateway process answers."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gateway.contracts.access_log import AccessLogEvent, Charge, Kind
from portal.clock import now
from portal.models import Api, Consumer, Route, SnapshotVersion, Upstream
from portal.services.catalog import route_save
from portal.services.credentials import IssuedCredential, credential_create, credential_rotate
from portal.snapshots import snapshot_publish
from tests.factories.events import events_of
from tests.factories.provider import (
    make_api,
    make_organization,
    make_plan_version,
    make_subscription,
)
from tests.gateway_process import GatewayProcess

pytestmark = [pytest.mark.django_db, pytest.mark.timeout(60)]

OPEN, READ, BOTH, PUBLIC = (f"/v1/countries/{code}" for code in ("de", "fr", "es", "it"))
REQUIRED: dict[str, list[str]] = {
    OPEN: [],
    READ: ["world:read"],
    BOTH: ["world:read", "world:write"],
    PUBLIC: [],
}
HELD: dict[str, tuple[str, ...]] = {
    "none": (),
    "some": ("world:read",),
    "all": ("world:write", "world:read"),
}


@dataclass
class Installation:
    """A gateway process on a portal's snapshot, and its keys by environment and what they hold."""

    gateway: GatewayProcess
    keys: dict[str, str]

    def ask(self, path: str, key: str) -> tuple[int, str, str]:
        """Return status, code and detail."""
        status, _headers, body = self.gateway.get(path, key=self.keys[key])
        problem = json.loads(body) if status >= 400 else {}
        return status, problem.get("code", ""), problem.get("detail", "")

    def used(self, key: str) -> int:
        report = json.loads(self.gateway.get("/me/usage", key=self.keys[key])[2])
        return int(report["usage"][0]["meters"][0]["used"])

    def events(self) -> list[AccessLogEvent]:
        paths = sorted((self.gateway.data / "spool").glob("*/*.seg"))
        return [e for path in paths for e in events_of(path) if e.kind is Kind.REQUEST]


def offer(upstream_url: str, at: datetime) -> Api:
    """Make an API whose routes require different scopes."""
    api = make_api(routes=0)
    Upstream.objects.update(targets={upstream_url: 1})
    upstream = Upstream.objects.get()
    for path, scopes in REQUIRED.items():
        values = {"name": path[-2:], "path": path, "scopes": scopes, "is_public": path == PUBLIC}
        route_save(api=api, upstream=upstream, route=None, values=values, actor=None, now=at)
    return api


def key_secrets(consumer: Consumer, at: datetime) -> dict[str, str]:
    """Make keys of both environments with none, some and all of the scopes, and a successor."""
    who: dict[str, Any] = {"actor": None, "now": at}

    def make(environment: str, name: str) -> IssuedCredential:
        return credential_create(
            consumer=consumer, name=name, environment=environment, scopes=HELD[name], **who
        )

    made = {f"{kind} {name}": make(kind, name) for kind in ("test", "live") for name in HELD}
    rotated = credential_rotate(
        credential=made["live all"].credential, overlap=timedelta(hours=1), wall=at, **who
    )
    return {name: key.secret for name, key in made.items()} | {"rotated all": rotated.secret}


@pytest.fixture
def installation(tmp_path: Path, upstream_url: str) -> Iterator[Installation]:
    at = now()
    api = offer(upstream_url, at)
    organization = make_organization()
    make_subscription(organization, make_plan_version(api), starts_at=at - timedelta(days=5))
    consumer = Consumer.objects.create(
        organization=organization, name="App", username="app", created_at=at
    )
    keys = key_secrets(consumer, at)
    version = snapshot_publish(now=at)
    document = SnapshotVersion.objects.get(version=version).document
    gateway = GatewayProcess(tmp_path / "data", document)
    gateway.start()
    yield Installation(gateway, keys)
    gateway.stop()


def test_a_call_passes_exactly_when_its_key_holds_what_the_route_requires(
    installation: Installation,
) -> None:
    assert Route.objects.count() == len(REQUIRED)
    for key in installation.keys:
        for path, scopes in REQUIRED.items():
            missing = sorted(set(scopes).difference(HELD[key.split()[1]]))
            expected = (200, "", "")
            if missing:
                detail = f"The credential lacks: {', '.join(missing)}."
                expected = (403, "insufficient_scope", detail)
            assert installation.ask(path, key) == expected, (key, path)


def test_a_refusal_is_one_free_event_and_takes_nothing(installation: Installation) -> None:
    assert installation.ask(OPEN, "live none")[0] == 200
    for _ in range(3):
        assert installation.ask(READ, "live none")[0] == 403
    assert installation.used("live none") == 1
    refused = [e for e in installation.events() if e.decision == "insufficient_scope"]
    assert [(e.status, e.charge, e.path_template) for e in refused] == [
        (403, Charge.FREE, READ)
    ] * 3
    assert all(not e.quantities or e.quantities == {"requests": Decimal(0)} for e in refused)
    assert all(e.credential_id and e.subscription_id for e in refused)
