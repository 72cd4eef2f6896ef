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
            "scopes": ["read", "Read", 7],
            "auth": "none",
        },
        "routes[3]",
        problems,
    )
    assert [problem.path for problem in problems] == [
        "routes[3].auth",
        "routes[3].path",
        "routes[3].scopes",
        "routes[3].scopes",
        "routes[3].name",
        "routes[3].methods[1]",
        "routes[3].hosts[0]",
        "routes[3].units.requests",
        "routes[3].units.BAD",
        "routes[3].units.bytes",
    ]


@pytest.mark.parametrize(
    ("case", "scopes", "is_public", "codes"),
    [
        ("as many as may be", [f"s{n}" for n in range(20)], False, []),
        ("one more", [f"s{n}" for n in range(21)], False, ["too_many"]),
        ("the longest", ["a" * 64], False, []),
        ("one longer", ["a" * 65], False, ["not_a_scope"]),
        ("every sign that may be", ["a0_.:-"], False, []),
        ("a digit first", ["0a"], False, ["not_a_scope"]),
        ("empty", [""], False, ["not_a_scope"]),
        ("a line end behind it", ["a\n"], False, ["not_a_scope"]),
        ("two words", ["a b"], False, ["not_a_scope"]),
        ("no list", "a", False, ["not_a_list"]),
        ("a public route", ["a"], True, ["public_route"]),
        ("a public route that requires none", [], True, []),
    ],
)
def test_scopes_that_a_route_may_require(
    case: str, scopes: object, is_public: bool, codes: list[str]
) -> None:
    problems: list[Problem] = []
    route = {"name": "a", "path": "/a", "scopes": scopes, "is_public": is_public}
    read_route(route, "", problems)
    assert [problem.code for problem in problems] == codes, case
    assert {problem.path for problem in problems} <= {"scopes"}


def test_required_scopes_are_a_set() -> None:
    problems: list[Problem] = []
    route = read_route({"name": "a", "path": "/a", "scopes": ["b", "a", "b"]}, "", problems)
    assert (route["scopes"], problems) == (["a", "b"], [])


def test_weights_must_let_something_through() -> None:
    problems: list[Problem] = []
    read_upstream({"name": "a", "targets": {"http://a:1": 0}}, "", problems)
    assert [problem.code for problem in problems] == ["no_weight"]
