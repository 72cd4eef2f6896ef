"""The REST API: who may call what, the shape of errors, pages, and figures equal to the pages'."""

import csv
import io
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from portal.api.base import ApiView
from portal.clock import now, wall_now
from portal.models import AuditEvent, User
from portal.services.api_tokens import api_token_create, api_token_find, api_token_revoke
from portal.usage import override
from tests.factories.portal import api, cast, client_of, consumer, key, user
from tests.fakes.request_log import FakeRequestLog
from tests.integration.portal.api.described import Caller

pytestmark = pytest.mark.django_db


@pytest.fixture
def log(db: None) -> Iterator[FakeRequestLog]:
    fake = FakeRequestLog(now=now())
    with override(fake):
        yield fake


def as_(person: User, *scopes: str) -> dict[str, str]:
    issued = api_token_create(
        user=person, name="t", scopes=scopes, expires_at=None, wall=wall_now(), now=now()
    )
    return {"Authorization": f"Bearer {issued.secret}"}


def operations() -> Iterator[tuple[str, str, Any]]:
    def walk(resolver: URLResolver, prefix: str) -> Iterator[tuple[str, Any]]:
        for entry in resolver.url_patterns:
            route = prefix + str(entry.pattern)
            if isinstance(entry, URLResolver):
                yield from walk(entry, route)
            else:
                assert isinstance(entry, URLPattern)
                yield route, getattr(entry.callback, "cls", None)

    for route, view in walk(get_resolver(), ""):
        if isinstance(view, type) and issubclass(view, ApiView):
            for method, access in view.access.items():
                yield route, method, access


ALL = list(operations())


def call(route: str, method: str, org: str, headers: dict[str, str]) -> Any:
    url = "/" + re.sub(r"<[^>]+>", "x_1", route.replace("<slug:org>", org))
    return Client().generic(method, url, "{}", "application/json", headers=headers)


def test_the_map_is_whole() -> None:
    assert len(ALL) > 80


@pytest.mark.parametrize(
    ("route", "method", "access"), ALL, ids=[f"{method} {route}" for route, method, _ in ALL]
)
def test_every_operation_keeps_to_its_audience(route: str, method: str, access: Any) -> None:
    if access.audience == "public":
        assert call(route, method, "x", {}).status_code in {200, 404, 422}
        return
    who = cast()
    org = who.organization.slug
    nobody = call(route, method, org, {})
    assert (nobody.status_code, nobody.json()["code"]) == (401, "credential_missing")
    charlie = as_(who.charlie.user)
    before = AuditEvent.objects.count()
    if access.audience == "member":
        assert call(route, method, org, charlie).status_code == 404
        narrow = as_(who.alice.user, "write" if method == "GET" else "read")
        assert call(route, method, org, narrow).json()["code"] == "insufficient_scope"
        before += 1
    if access.audience == "staff":
        assert call(route, method, org, charlie).status_code == 403
        assert call(route, method, org, as_(user(staff_role="admin"), "read", "write")).json()[
            "code"
        ] == ("insufficient_scope")
        before += 1
    assert AuditEvent.objects.count() == before


def test_usage_equals_the_csv_of_the_page(log: FakeRequestLog) -> None:
    who = cast()
    org = who.organization
    row = key(org, environment="live").credential
    log.add(org.pk, at=log.now - timedelta(minutes=5), credential_id=row.pk, units=3)
    log.add(org.pk, at=log.now - timedelta(minutes=6), status=404)
    log.add(who.elsewhere.pk, at=log.now - timedelta(minutes=5))
    for by in ("day", "route", "status", "key"):
        page = client_of(who.alice.user).get(
            reverse("usage_csv", args=[org.slug]), {"range": "24h", "by": by}
        )
        answer = Client().get(
            reverse("api_usage", args=[org.slug]),
            {"range": "24h", "by": by},
            headers=as_(who.alice.user),
        )
        lines = list(csv.DictReader(io.StringIO(page.content.decode())))
        found = answer.json()["rows"]
        assert [
            (x["requests"], x["errors"], x["units_requests"], x["latency_p95_us"]) for x in lines
        ] == [
            (
                str(x["requests"]),
                str(x["errors"]),
                x["units"]["requests"],
                str(x["latency_p95_us"]),
            )
            for x in found
        ]
        assert sum(x["requests"] for x in found) == 2


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        ("organizations/{org}/usage", "env", "production"),
        ("organizations/{org}/usage", "by", "moon"),
        ("organizations/{org}/usage", "range", "5d"),
        ("organizations/{org}/usage", "from", "2026-02-30"),
        ("organizations/{org}/requests", "env", "production"),
        ("organizations/{org}/requests", "status", "4xx"),
        ("organizations/{org}/requests", "before", "yesterday"),
        ("finance/invoices", "state", "lost"),
        ("finance/credit-notes", "state", "lost"),
        ("finance/findings", "all", "yes"),
    ],
)
def test_a_query_that_asks_for_nothing_there_is_is_refused(
    log: FakeRequestLog, path: str, name: str, value: str
) -> None:
    who = cast()
    finance = path.startswith("finance")
    caller = Caller(user(staff_role="finance") if finance else who.alice.user)
    url = path.format(org=who.organization.slug)
    caller.get(url, **{name: ""})
    answer = caller.send("GET", url, **{name: value})
    assert (answer.status_code, answer.json()["code"]) == (422, "input_invalid")
    assert [error["pointer"] for error in answer.json()["errors"]] == [f"/{name}"]


def test_problems_have_one_shape(log: FakeRequestLog) -> None:
    who = cast()
    url = f"/api/v1/organizations/{who.organization.slug}/keys"
    headers = as_(who.alice.user)

    def post(text: str, kind: str = "application/json") -> Any:
        return Client().generic("POST", url, text, kind, headers=headers)

    cases = [
        (post("{"), 400, "malformed_body"),
        (post("a=1", "application/x-www-form-urlencoded"), 415, "unsupported_media_type"),
        (post('{"surprise": 1}'), 422, "input_invalid"),
        (Client().put(url, headers=headers), 405, "method_not_allowed"),
        (Client().get("/api/v1/nowhere", headers=headers), 404, "not_found"),
        (Client().get(url, headers={"Authorization": "Bearer no"}), 401, "credential_invalid"),
    ]
    for answer, status, code in cases:
        assert answer.headers["Content-Type"] == "application/problem+json", code
        body = answer.json()
        assert (answer.status_code, body["status"], body["code"]) == (status, status, code)
        assert body["type"].endswith(f"/docs/errors#{code}")
        assert body["request_id"].startswith("req_")
    unknown = {"pointer": "/surprise", "code": "unknown_field"}
    assert unknown.items() <= cases[2][0].json()["errors"][0].items()


def test_keys_from_creation_to_revocation(log: FakeRequestLog) -> None:
    who = cast()
    key(who.organization)
    url = f"/api/v1/organizations/{who.organization.slug}/keys"
    client = Client(headers=as_(who.alice.user))
    made = client.post(url, {"name": "a", "environment": "live"}, "application/json")
    assert made.status_code == 201, made.content
    one = f"{url}/{made.json()['key']['id']}"
    assert "secret" not in client.get(one).json()
    assert client.get(f"{one}/secret").status_code == 404
    rotated = client.post(f"{one}/rotate", {"overlap_s": 60}, "application/json")
    assert rotated.status_code == 201
    assert client.post(f"{one}/revoke", {}, "application/json").json()["revoked_at"]
    assert (
        client.post(f"{one}/revoke", {}, "application/json").json()["code"] == "credential_ended"
    )
    page = client.get(url, {"page_size": 1}).json()
    assert (page["count"], len(page["results"])) == (3, 1)
    assert client.get(url, {"page_size": 10_000}).status_code == 200


def test_a_key_is_made_with_scopes_that_routes_require(log: FakeRequestLog) -> None:
    who = cast()
    api(scopes=("maps:read", "maps:write"))
    consumer(who.organization)
    alice, keys = Caller(who.alice.user), f"organizations/{who.organization.slug}/keys"
    sent = {"name": "a", "environment": "test"}
    assert alice.post(keys, sent)["key"]["scopes"] == []
    made = alice.post(keys, sent | {"scopes": ["maps:write", "maps:read"]})["key"]
    assert made["scopes"] == ["maps:read", "maps:write"]
    assert alice.get(f"{keys}/{made['id']}")["scopes"] == made["scopes"]
    rotated = alice.post(f"{keys}/{made['id']}/rotate", {"overlap_s": 0})["key"]
    assert rotated["scopes"] == made["scopes"]
    for scopes in (["maps:read", "maps:all"], ["a"] * 101, "maps:read", [""], None):
        answer = alice.send("POST", keys, sent | {"scopes": scopes})
        assert answer.status_code == 422, scopes
        pointers = {error["pointer"] for error in answer.json()["errors"]}
        assert all(pointer.startswith("/scopes") for pointer in pointers), pointers
    assert alice.get(keys)["count"] == 3


def test_tokens_end(capsys: pytest.CaptureFixture[str]) -> None:
    person = user()
    call_command("create_token", person.email, "--days", "1")
    secret = capsys.readouterr().out.strip()
    token = api_token_find(secret=secret, wall=wall_now())
    assert token is not None
    assert token.scopes == ["read", "write"]
    assert api_token_find(secret=secret, wall=wall_now() + timedelta(days=2)) is None
    api_token_revoke(token=token, wall=wall_now(), now=now())
    assert api_token_find(secret=secret, wall=wall_now()) is None
    assert secret not in str(list(AuditEvent.objects.values_list("after", flat=True)))
