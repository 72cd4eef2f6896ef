"""What an admin may define: route paths, targets, and the problems of what cannot be."""

import pytest

from portal.core.catalog_input import read_route, read_upstream, route_path_problem, target_problem
from portal.core.checked_input import Problem


@pytest.mark.parametrize(
    "path", ["/", "/a", "/v1/maps/{id}", "/v1/*", "/{a}/{b}", "/a.b/~c/d-e_f", "/a:b@c/*"]
)
def test_paths_that_can_be(path: str) -> None:
    assert route_path_problem(path) == ""


@pytest.mark.parametrize(
    "path",
    [
        None,
        "",
        "a",
        "//a",
        "/a//b",
        "/a/",
        "/a/../b",
        "/./a",
        "/a*",
        "/*/a",
        "/a/{b}c",
        "/{1}",
        "/{a}/{a}",
        "/a%2fb",
        "/a;b",
        "/a\\b",
        "/a?b",
        "/a b",
        "/ä",
        "/me/usage",
        "/_tollway/events",
        "/" + "a" * 300,
    ],
)
def test_paths_that_cannot_be(path: object) -> None:
    assert route_path_problem(path)


@pytest.mark.parametrize(
    "target", ["http://127.0.0.1:9000", "https://api.example", "http://[::1]:80", "http://backend"]
)
def test_targets_that_can_be(target: str) -> None:
    assert target_problem(target) == ""


@pytest.mark.parametrize(
    "target",
    [
        "ftp://a:1",
        "http://a:99999",
        "http://a/b",
        "http://u:p@a",
        "a:80",
        "http://",
        7,
        "http://a b",
    ],
)
def test_targets_that_cannot_be(target: object) -> None:
    assert target_problem(target)


def test_defaults_are_those_of_the_contract() -> None:
    problems: list[Problem] = []
    route = read_route({"name": "maps", "path": "/maps"}, "", problems)
    upstream = read_upstream({"name": "a", "targets": {"http://a:1": 1}}, "", problems)
    assert problems == []
    assert (route["max_body_bytes"], route["is_public"], route["methods"]) == (
        10_485_760,
        False,
        [],
    )
    assert (upstream["connect_timeout_ms"], upstream["read_timeout_ms"]) == (2_000, 30_000)


def test_every_problem_has_its_path() -> None:
    problems: list[Problem] = []
    read_route(
        {
            "name": "Not A Slug",
            "path": "x",
            "methods": ["GET", "FETCH"],
            "hosts": ["bad host"],
            "units": {"requests": -1, "BAD": 1, "bytes": True},
            "auth": "none",
        },
        "routes[3]",
        problems,
    )
    assert [problem.path for problem in problems] == [
        "routes[3].auth",
        "routes[3].path",
        "routes[3].name",
        "routes[3].methods[1]",
        "routes[3].hosts[0]",
        "routes[3].units.requests",
        "routes[3].units.BAD",
        "routes[3].units.bytes",
    ]


def test_weights_must_let_something_through() -> None:
    problems: list[Problem] = []
    read_upstream({"name": "a", "targets": {"http://a:1": 0}}, "", problems)
    assert [problem.code for problem in problems] == ["no_weight"]
