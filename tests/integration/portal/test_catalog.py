"""Services of what is sold: saving, refusing, deleting, importing; audited and published."""

import json

import pytest

from portal.errors import InputInvalidError, InUseError
from portal.models import Api, AuditEvent, Route, SnapshotDirty, Upstream
from portal.selectors import scopes_required
from portal.services.catalog import (
    api_delete,
    api_save,
    meter_save,
    route_delete,
    route_save,
    upstream_delete,
    upstream_save,
)
from portal.services.openapi_import import openapi_import
from tests.factories.provider import NOW, make_api, make_plan_version, make_user

pytestmark = pytest.mark.django_db

OPENAPI = {
    "openapi": "3.1.0",
    "info": {"title": "Maps", "version": "1"},
    "paths": {
        "/tiles/{z}": {
            "parameters": [],
            "get": {"operationId": "getTile", "summary": "One tile"},
            "post": {},
        },
        "/search": {"get": {"operationId": "getTile", "security": [{"oauth": ["find"]}]}},
    },
}


def problems_of(error: pytest.ExceptionInfo[InputInvalidError]) -> list[tuple[str, str]]:
    return [(problem.path, problem.code) for problem in error.value.problems]


def test_from_an_upstream_to_a_published_api() -> None:
    actor = make_user()
    upstream = upstream_save(
        upstream=None,
        values={"name": "maps", "targets": {"http://10.0.0.7:9000": 1}},
        actor=actor,
        now=NOW,
    )
    values = {"name": "Maps", "slug": "maps"}
    api = api_save(api=None, values=values, actor=actor, now=NOW)
    meter_save(meter=None, values={"slug": "tiles", "name": "Tiles"}, actor=actor, now=NOW)
    with pytest.raises(InputInvalidError) as error:
        api_save(api=api, values=values | {"is_published": True}, actor=actor, now=NOW)
    assert problems_of(error) == [("is_published", "no_route")]
    route = route_save(
        api=api,
        upstream=upstream,
        route=None,
        values={"name": "tile", "path": "/tiles/{z}", "units": {"tiles": 4}},
        actor=actor,
        now=NOW,
    )
    api_save(api=api, values=values | {"is_published": True}, actor=actor, now=NOW)
    assert route.units == {"tiles": 4}
    assert list(AuditEvent.objects.order_by("id").values_list("action", flat=True)) == [
        "upstream.create",
        "api.create",
        "meter.create",
        "route.create",
        "api.update",
    ]
    assert SnapshotDirty.objects.get().changes == 5


def test_required_scopes_are_audited_and_published() -> None:
    api = make_api(slug="maps")
    route = api.routes.get()
    values = {
        "name": route.name,
        "path": route.path,
        "methods": ["GET", "POST"],
        "scopes": ["maps:write", "maps:read"],
    }
    saved = {"api": api, "upstream": route.upstream, "route": route, "actor": None, "now": NOW}
    route_save(values=values, **saved)  # type: ignore[arg-type]
    event = AuditEvent.objects.get(action="route.update")
    assert event.before is not None
    assert event.after is not None
    assert event.before["scopes"] == []
    assert event.after["scopes"] == ["maps:read", "maps:write"]
    assert SnapshotDirty.objects.get().changes == 1
    place = f"GET/POST {route.path}"
    assert scopes_required() == {"maps:read": [place], "maps:write": [place]}
    with pytest.raises(InputInvalidError) as error:
        route_save(values=values | {"is_public": True}, **saved)  # type: ignore[arg-type]
    assert problems_of(error) == [("scopes", "public_route")]
    Api.objects.update(is_published=False)
    assert scopes_required() == {}


def test_saving_what_is_there_changes_nothing() -> None:
    api = make_api(slug="maps")
    values = {"name": api.name, "slug": "maps", "is_published": True}
    api_save(api=api, values=values, actor=None, now=NOW)
    assert not AuditEvent.objects.exists()


def test_what_is_taken_is_refused() -> None:
    api = make_api(slug="maps")
    route = api.routes.get()
    with pytest.raises(InputInvalidError) as error:
        api_save(api=None, values={"name": "M", "slug": "maps"}, actor=None, now=NOW)
    assert problems_of(error) == [("slug", "taken")]
    with pytest.raises(InputInvalidError) as error:
        route_save(
            api=api,
            upstream=route.upstream,
            route=None,
            values={"name": route.name, "path": route.path, "units": {"ghosts": 1}},
            actor=None,
            now=NOW,
        )
    assert problems_of(error) == [
        ("name", "taken"),
        ("units.ghosts", "unknown_meter"),
        ("path", "route_taken"),
    ]


def test_the_same_path_is_free_for_another_method_or_host() -> None:
    api = make_api(slug="maps")
    first = api.routes.get()
    Route.objects.update(methods=["GET"], hosts=["a.example"])
    for name, change in (
        ("post", {"methods": ["POST"]}),
        ("other-host", {"methods": ["GET"], "hosts": ["b.example"]}),
        ("first", {"priority": 5}),
    ):
        route_save(
            api=api,
            upstream=first.upstream,
            route=None,
            values={"name": name, "path": first.path} | change,
            actor=None,
            now=NOW,
        )
    assert api.routes.count() == 4


def test_what_is_in_use_stays() -> None:
    api = make_api()
    route = api.routes.get()
    version = make_plan_version(api)
    with pytest.raises(InUseError):
        upstream_delete(upstream=route.upstream, actor=None, now=NOW)
    with pytest.raises(InUseError):
        api_delete(api=api, actor=None, now=NOW)
    assert Upstream.objects.exists()
    version.plan.apis.clear()
    route_delete(route=route, actor=None, now=NOW)
    upstream_delete(upstream=route.upstream, actor=None, now=NOW)
    api_delete(api=api, actor=None, now=NOW)
    assert not Api.objects.exists()


@pytest.mark.parametrize("as_yaml", [False, True])
def test_an_openapi_document_becomes_routes(as_yaml: bool) -> None:
    api = make_api(slug="maps", routes=0)
    text = json.dumps(OPENAPI)
    if as_yaml:
        text = "# maps\n" + text  # JSON is YAML; the comment keeps it from being read as JSON
    arguments = {"api": api, "upstream": Upstream.objects.get(), "actor": None, "now": NOW}
    routes = openapi_import(text=text, prefix="/maps", **arguments)  # type: ignore[arg-type]
    assert [(r.name, r.path, r.methods, r.strip_prefix) for r in routes] == [
        ("gettile", "/maps/tiles/{z}", ["GET"], "/maps"),
        ("post-tiles-z", "/maps/tiles/{z}", ["POST"], "/maps"),
        ("gettile-2", "/maps/search", ["GET"], "/maps"),
    ]
    assert [r.scopes for r in routes] == [[], [], []]  # a document's security locks nobody out
    Route.objects.filter(name="gettile").update(is_public=True)
    Route.objects.filter(name="gettile-2").update(scopes=["maps:find"])
    openapi_import(text=text, prefix="/maps", **arguments)  # type: ignore[arg-type]
    assert Route.objects.count() == 3
    assert Route.objects.get(name="gettile").is_public
    assert Route.objects.get(name="gettile-2").scopes == ["maps:find"]
    api.refresh_from_db()
    assert api.openapi == OPENAPI


def test_one_bad_operation_imports_nothing() -> None:
    api = make_api(slug="maps", routes=0)
    document = OPENAPI | {"paths": {"/ok": {"get": {}}, "/a//b": {"get": {}}}}
    with pytest.raises(InputInvalidError) as error:
        openapi_import(
            api=api,
            upstream=Upstream.objects.get(),
            text=json.dumps(document),
            actor=None,
            now=NOW,
        )
    assert problems_of(error) == [("paths./a//b.get.path", "route_path")]
    assert not Route.objects.exists()


@pytest.mark.parametrize(
    "text", ["", "{", "- a", '{"openapi": "2.0", "paths": {"/a": {}}}', '{"openapi": "3.1.0"}']
)
def test_what_is_no_openapi_document(text: str) -> None:
    api = make_api(routes=0)
    with pytest.raises(InputInvalidError):
        openapi_import(api=api, upstream=Upstream.objects.get(), text=text, actor=None, now=NOW)


@pytest.mark.parametrize(
    ("case", "text"),
    [
        ("a nest beyond the stack", '{"a":' * 100_000),
        ("YAML as deep", "[" * 400),
        (
            "NUL in a summary",
            '{"openapi": "3.1.0", "paths": {"/a": {"get": {"summary": "\\u0000"}}}}',
        ),
        ("half a pair", '{"openapi": "3.1.0", "paths": {"/a": {"get": {"x": "\\ud800"}}}}'),
        ("a number without end", '{"openapi": "3.1.0", "paths": {"/a": {"get": {"x": 1e999}}}}'),
        ("a date as a key", "openapi: 3.1.0\npaths:\n  2026-01-01: {get: {}}\n"),
    ],
)
def test_a_document_that_cannot_be_kept_is_refused(case: str, text: str) -> None:
    api = make_api(routes=0)
    with pytest.raises(InputInvalidError) as caught:
        openapi_import(api=api, upstream=Upstream.objects.get(), text=text, actor=None, now=NOW)
    assert [problem.code for problem in caught.value.problems] == ["not_a_document"], case
    assert not api.routes.exists()
