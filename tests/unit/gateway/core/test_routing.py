"""The tree finds what a plain search over all routes finds."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contracts.snapshot import Route, SnapshotError
from gateway.core.routing import MethodNotAllowed, Router, check_path, preference
from tests.factories.snapshots import build_route


@dataclass(frozen=True)
class Target:
    route: Route


def _router(*routes: Route) -> Router[Target]:
    return Router([Target(route) for route in routes])


def _found(router: Router[Target], path: str, *, method: str = "GET", host: str = "h") -> str:
    match = router.match(method=method, host=host, path=path)
    if match is None:
        return "none"
    return match.allow if isinstance(match, MethodNotAllowed) else match.route.id


def _path_matches(pattern: str, path: str) -> bool:
    wanted, given_ = pattern.split("/")[1:], path.split("/")[1:]
    if wanted[-1] == "*":
        wanted = wanted[:-1]
        given_ = given_[: len(wanted)]
    return len(wanted) == len(given_) and all(
        (w.startswith("{") and g != "") or w == g for w, g in zip(wanted, given_, strict=True)
    )


def _host_matches(pattern: str, host: str) -> bool:
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and len(host) > len(pattern) - 1
    return pattern in ("", host)


def _naive(routes: list[Route], method: str, host: str, path: str) -> str:
    hits = [
        (preference(route, pattern), route)
        for route in routes
        for pattern in (route.hosts or ("",))
        if _host_matches(pattern, host) and _path_matches(route.path, path)
    ]
    hits.sort(key=lambda hit: hit[0])
    for _, route in hits:
        allowed = set(route.methods) | ({"HEAD"} if "GET" in route.methods else set())
        if not route.methods or method in allowed:
            return route.id
    return "405" if hits else "none"


_SEGMENT = st.sampled_from(["a", "b", "c", "{x}", "{y}"])
_PATH = st.builds(
    lambda segments, end: "/" + "/".join([*segments, *end]),
    st.lists(_SEGMENT, max_size=3),
    st.sampled_from([[], [""], ["*"], ["a"]]),
).filter(lambda path: not ("*" in path and "{" in path) and "//" not in path)
_ROUTE = st.builds(
    lambda path, methods, hosts, priority: (path, methods, hosts, priority),
    _PATH,
    st.lists(st.sampled_from(["GET", "POST", "DELETE"]), unique=True, max_size=2),
    st.lists(st.sampled_from(["h", "a.h", "*.h", "*.a.h"]), unique=True, max_size=2),
    st.integers(0, 1),
)


@given(
    rows=st.lists(_ROUTE, max_size=12),
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT"]),
    host=st.sampled_from(["h", "a.h", "b.a.h", "other"]),
    segments=st.lists(st.sampled_from(["a", "b", "c", "z"]), max_size=4),
    slash=st.booleans(),
)
def test_tree_agrees_with_a_plain_search(
    rows: list[tuple[str, list[str], list[str], int]], method: str, host: str,
    segments: list[str], slash: bool,
) -> None:  # fmt: skip
    routes = [
        build_route(
            id=f"r{i:02}", path=path, methods=tuple(methods), hosts=tuple(hosts), priority=priority
        )
        for i, (path, methods, hosts, priority) in enumerate(rows)
    ]
    path = "/" + "/".join(segments) + ("/" if slash and segments else "")
    found = _router(*routes).match(method=method, host=host, path=path)
    expected = _naive(routes, method, host, path)
    if isinstance(found, MethodNotAllowed):
        assert expected == "405"
    else:
        assert expected == (found.route.id if found is not None else "none")


def test_exact_beats_the_longest_prefix_beats_a_template() -> None:
    router = _router(
        build_route(id="all", path="/*"),
        build_route(id="users", path="/users/*"),
        build_route(id="me", path="/users/me"),
        build_route(id="orders", path="/orders/{id}"),
    )
    assert _found(router, "/users/me") == "me"
    assert _found(router, "/users/7") == "users"
    assert _found(router, "/users") == "users"
    assert _found(router, "/orders/7") == "orders"
    assert _found(router, "/orders/7/x") == "all"
    assert _found(router, "/usersx") == "all"


def test_priority_beats_everything() -> None:
    router = _router(
        build_route(id="exact", path="/a", hosts=("h",)),
        build_route(id="all", path="/*", priority=1),
    )
    assert _found(router, "/a") == "all"


def test_known_path_with_another_method_says_which_are_allowed() -> None:
    router = _router(
        build_route(id="r", path="/a", methods=("POST",)),
        build_route(id="g", path="/a", methods=("GET",)),
    )
    assert _found(router, "/a", method="HEAD") == "g"
    assert _found(router, "/a", method="DELETE") == "GET, HEAD, POST"


def test_parameter_takes_one_segment_that_is_not_empty() -> None:
    router = _router(build_route(id="r", path="/a/{id}"))
    assert [_found(router, path) for path in ("/a/", "/a", "/a/b", "/a/b/")] == [
        "none", "none", "r", "none",
    ]  # fmt: skip


@pytest.mark.parametrize("path", ["a", "/a//b", "/a/*/b", "/a*", "/{x", "/a{x}", "/{x}/*", ""])
def test_path_that_cannot_be_matched_as_written_is_refused(path: str) -> None:
    with pytest.raises(SnapshotError, match=r"routes\.r"):
        check_path(path, where="routes.r")
