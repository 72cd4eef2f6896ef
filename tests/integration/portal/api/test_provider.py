"""The provider's side from an upstream to a subscribed customer, and the installation itself."""

from datetime import timedelta
from typing import Any

import pytest
import yaml

from portal.clock import now
from portal.models import AuditEvent, Plan, Segment, SnapshotVersion
from portal.snapshots import snapshot_publish
from tests.factories.portal import organization, user
from tests.factories.provider import make_api
from tests.integration.portal.api.described import ALL_SCOPES, Caller

pytestmark = pytest.mark.django_db
PETS = {
    "openapi": "3.1.0",
    "info": {"title": "Pets", "version": "1"},
    "paths": {
        "/pets": {
            "get": {"operationId": "listPets", "responses": {"200": {"description": "ok"}}},
            "post": {"operationId": "addPet", "responses": {"201": {"description": "ok"}}},
        },
        "/pets/{id}": {
            "get": {"operationId": "showPet", "responses": {"200": {"description": "ok"}}}
        },
    },
}
TERMS = {"prices": [{"key": "base", "model": "flat", "amount": "9.00", "timing": "in_advance"}]}


@pytest.fixture
def admin() -> Caller:
    return Caller(user(staff_role="admin"), *ALL_SCOPES)


def test_from_an_upstream_to_a_subscribed_customer(admin: Caller) -> None:
    upstream = admin.post(
        "admin/upstreams", {"name": "pets", "targets": {"http://127.0.0.1:9000": 1}}
    )
    api = admin.post("admin/apis", {"slug": "pets", "name": "Pets"})
    sent = {"upstream": upstream["id"], "document": yaml.safe_dump(PETS), "prefix": "/v1"}
    routes = admin.post(f"admin/apis/{api['id']}/import", sent)["routes"]
    assert sorted((r["path"], tuple(r["methods"])) for r in routes) == [
        ("/v1/pets", ("GET",)),
        ("/v1/pets", ("POST",)),
        ("/v1/pets/{id}", ("GET",)),
    ]
    listed = admin.get(f"admin/apis/{api['id']}/routes")
    assert listed["count"] == 3
    assert admin.patch(f"admin/apis/{api['id']}", {"is_published": True})["name"] == "Pets"

    plan = admin.post("admin/plans", {"slug": "basic", "name": "Basic", "apis": ["pets"]})
    draft = admin.post(f"admin/plans/{plan['id']}/versions")
    version = f"admin/versions/{draft['id']}"
    broken = admin.patch(version, {"terms": {"prices": [{"key": "base", "model": "none"}]}})
    assert broken["problems"]
    refused = admin.send("POST", f"{version}/publish", {})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"].startswith("/terms/prices/0")
    limits = {"quotas": [{"meter": "requests", "quota": 1000}]}
    assert admin.patch(version, {"terms": TERMS, "limits": limits})["problems"] == []
    assert admin.patch(version, {"threshold_minor": 2000})["threshold_minor"] == 2000
    assert admin.patch(version, {"note": "new"})["threshold_minor"] == 2000
    assert admin.refused("PATCH", version, {"threshold_minor": 0})[0] == 422
    assert admin.patch(version, {"threshold_minor": None})["threshold_minor"] is None
    published = admin.post(f"{version}/publish")
    assert published["published_at"]
    assert admin.refused("PATCH", version, {"note": "later"})[0] == 409

    admin.patch(f"admin/plans/{plan['id']}", {"is_public": True})
    assert [p["slug"] for p in admin.get("plans")["results"]] == ["basic"]
    assert admin.get("plans/basic")["plan_version"] == draft["id"]
    customer = organization()
    made = admin.post(
        f"admin/customers/{customer.pk}/subscriptions", {"plan_version": draft["id"]}
    )
    assert (made["plan"], made["organization"]) == ("basic", customer.pk)
    assert Segment.objects.get().plan_version_id == draft["id"]
    assert admin.get("admin/customers", q=customer.name)["results"][0]["id"] == customer.pk

    snapshot_publish(now=now())
    assert admin.get("admin/snapshot")["version"] == SnapshotVersion.objects.latest("version").pk
    actions = [e["action"] for e in admin.get("admin/audit", page_size=200)["results"]]
    assert {"upstream.create", "plan_version.publish", "subscription.create"} <= set(actions)


def test_a_subscription_is_changed_paused_and_ended(admin: Caller) -> None:
    first, second = (_offered(admin, slug, rank) for slug, rank in (("one", 1), ("two", 2)))
    customer = organization()
    made = admin.post(f"admin/customers/{customer.pk}/subscriptions", {"plan_version": first})
    one = f"admin/subscriptions/{made['id']}"
    changed = admin.post(f"{one}/change", {"plan_version": second})
    assert [s["plan"] for s in changed["segments"]] == ["one", "two"]
    undone = admin.delete(f"{one}/change")
    assert [(s["plan"], s["ends_at"]) for s in undone["segments"]] == [("one", None)]
    cancelled = admin.post(f"{one}/cancellation", {"reason": "asked for"})
    assert cancelled["ends_at"]
    assert admin.refused("POST", f"{one}/cancellation", {"reason": "x"}) == (
        409,
        "subscription_state",
    )
    assert admin.delete(f"{one}/cancellation")["ends_at"] is None
    paused = admin.post(f"{one}/pause", {"reason": "unpaid"})
    assert paused["paused_at"]
    assert admin.refused("POST", f"{one}/pause", {"reason": "x"})[1] == "subscription_state"
    assert admin.get("admin/subscriptions")["count"] == 1
    assert AuditEvent.objects.get(action="subscription.pause").reason == "unpaid"


def _offered(admin: Caller, slug: str, rank: int) -> Any:
    api = make_api()
    plan = admin.post(
        "admin/plans", {"slug": slug, "name": slug, "rank": rank, "apis": [api.slug]}
    )
    draft = admin.post(f"admin/plans/{plan['id']}/versions")
    admin.patch(f"admin/versions/{draft['id']}", {"terms": TERMS})
    return admin.post(f"admin/versions/{draft['id']}/publish")["id"]


def test_the_catalog_is_edited_and_cleared(admin: Caller) -> None:
    api = admin.post("admin/apis", {"slug": "a", "name": "A"})
    upstream = admin.post(
        "admin/upstreams", {"name": "u", "targets": {"http://127.0.0.1:9000": 1}}
    )
    route = admin.post(
        f"admin/apis/{api['id']}/routes",
        {"upstream": upstream["id"], "name": "r", "path": "/r"},
    )
    one = f"admin/routes/{route['id']}"
    changed = admin.patch(one, {"units": {"requests": 5}})
    assert (changed["units"], changed["path"]) == ({"requests": 5}, "/r")
    assert admin.get(one) == changed
    scoped = admin.patch(one, {"scopes": ["r:write", "r:read"]})
    assert (scoped["scopes"], scoped["units"]) == (["r:read", "r:write"], {"requests": 5})
    for sent in ({"scopes": ["R"]}, {"is_public": True}):
        refused = admin.send("PATCH", one, sent)
        assert refused.status_code == 422
        assert [e["pointer"] for e in refused.json()["errors"]] == ["/scopes"]
    assert admin.get(one) == scoped
    assert admin.refused("DELETE", f"admin/upstreams/{upstream['id']}") == (409, "in_use")
    for gone in (one, f"admin/upstreams/{upstream['id']}", f"admin/apis/{api['id']}"):
        assert admin.delete(gone).status_code == 204
        assert admin.refused("GET", gone) == (404, "not_found")
    meter = admin.post("admin/meters", {"slug": "tokens", "name": "Tokens", "unit": "token"})
    assert admin.patch(f"admin/meters/{meter['id']}", {"name": "Words"})["slug"] == "tokens"


def test_the_clock_moves_forward_only(admin: Caller) -> None:
    before = admin.get("admin/clock")
    assert before["offset_s"] == 0
    moved = admin.post("admin/clock", {"by": "3 04:00:00"})
    assert moved["offset_s"] == 3 * 86400 + 4 * 3600
    assert admin.refused("POST", "admin/clock", {"to": before["now"]})[0] in {409, 422}
    assert admin.refused("POST", "admin/clock", {}) == (422, "input_invalid")
    assert admin.get("admin/clock")["offset_s"] == moved["offset_s"]
    assert now() > AuditEvent.objects.earliest("id").at + timedelta(days=3)


def test_the_configuration_is_dumped_compared_and_applied(admin: Caller) -> None:
    _offered(admin, "basic", 1)
    document = admin.get("admin/config")["document"]
    same = admin.post("admin/config", {"document": document, "dry_run": True})
    assert same == {"dry_run": True, "changes": []}
    edited = document.replace("name: basic", "name: Basic")
    assert edited != document
    shown = admin.post("admin/config", {"document": edited, "dry_run": True})
    assert [(c["before"], c["after"]) for c in shown["changes"]] == [("basic", "Basic")]
    assert Plan.objects.get().name == "basic"
    applied = admin.post("admin/config", {"document": edited})
    assert applied == shown | {"dry_run": False}
    assert Plan.objects.get().name == "Basic"
    assert admin.refused("POST", "admin/config", {"document": "surprise: 1"})[0] == 422
