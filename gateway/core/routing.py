"""From (method, host, path) to the one route: a segment tree per host, built once per snapshot.

Order of preference: `priority`; exact host before wildcard before none; exact path before the
longest literal start (segment-wise), a prefix before a template at the same length; then the
earlier id. It is worked out when the tables are built, so that a match is the least rank among
the candidates whose methods fit.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, TypeVar

from gateway.contracts.snapshot import Route, SnapshotError

_EXACT, _PREFIX, _TEMPLATE = 0, 1, 2


class Routed(Protocol):
    """What the router needs to know about what it routes to."""

    @property
    def route(self) -> Route: ...


R = TypeVar("R", bound=Routed)


@dataclass(slots=True)
class _Entry(Generic[R]):
    rank: int
    methods: frozenset[str]  # empty = every method
    target: R


@dataclass(slots=True)
class _Node(Generic[R]):
    children: "dict[str, _Node[R]]" = field(default_factory=dict)
    parameter: "_Node[R] | None" = None
    here: list[_Entry[R]] = field(default_factory=list)  # the path ends here
    below: list[_Entry[R]] = field(
        default_factory=list
    )  # prefix routes: here and everything below


@dataclass(frozen=True, slots=True)
class MethodNotAllowed:
    """The path is known, the method is not; `allow` is the header's value."""

    allow: str


def path_segments(path: str) -> list[str]:
    """Split a path that starts with a slash; a trailing slash gives an empty last segment.

    >>> path_segments("/a/b/"), path_segments("/")
    (['a', 'b', ''], [''])
    """
    return path[1:].split("/")


def is_parameter(segment: str) -> bool:
    return segment.startswith("{") and segment.endswith("}")


def check_path(path: str, *, where: str) -> None:
    """Refuse a route path that could not be matched as written.

    :raises SnapshotError: naming `where`.
    """
    segments = path_segments(path)
    wrong = not path.startswith("/") or "" in segments[:-1] or "*" in "".join(segments[:-1])
    wrong = wrong or segments[-1] not in ("*", segments[-1].replace("*", ""))
    wrong = wrong or any(("{" in s or "}" in s) and not is_parameter(s) for s in segments)
    prefix_of_template = segments[-1] == "*" and any(map(is_parameter, segments))
    if wrong or prefix_of_template:
        msg = f"{where}: not an exact path, a template or a prefix ending in /*: {path!r}"
        raise SnapshotError(msg)


def path_kind(path: str) -> int:
    """Return 0 for an exact path, 1 for a prefix, 2 for a template."""
    segments = path_segments(path)
    if segments[-1] == "*":
        return _PREFIX
    return _TEMPLATE if any(map(is_parameter, segments)) else _EXACT


def literal_segments(path: str) -> int:
    """Count the segments before the first parameter or star.

    >>> literal_segments("/a/b/{id}/c"), literal_segments("/*")
    (2, 0)
    """
    count = 0
    for segment in path_segments(path):
        if segment == "*" or is_parameter(segment):
            break
        count += 1
    return count


def _host_rank(host: str) -> tuple[int, int]:
    """Exact 0, wildcards 1 with the longer suffix first, none 2."""
    if not host:
        return (2, 0)
    return (1, -len(host)) if host.startswith("*.") else (0, 0)


def preference(route: Route, host: str) -> tuple[object, ...]:
    """Return the sort key of a route on one of its hosts; the least is the best match."""
    kind = path_kind(route.path)
    path_rank = (0, 0, 0) if kind == _EXACT else (1, -literal_segments(route.path), kind)
    return (-route.priority, _host_rank(host), path_rank, route.id)


class Router(Generic[R]):
    """Immutable after construction; `match` is pure."""

    def __init__(self, targets: Iterable[R]) -> None:
        pairs = [(t, host.lower()) for t in targets for host in (t.route.hosts or ("",))]
        pairs.sort(key=lambda pair: preference(pair[0].route, pair[1]))
        self._exact: dict[str, _Node[R]] = {}
        self._wildcards: dict[str, _Node[R]] = {}
        self._any: _Node[R] = _Node()
        for rank, (target, host) in enumerate(pairs):
            methods = frozenset(target.route.methods)
            if "GET" in methods:
                methods |= {"HEAD"}
            _insert(self._tree(host), _Entry(rank, methods, target))

    def _tree(self, host: str) -> _Node[R]:
        if not host:
            return self._any
        if host.startswith("*."):
            return self._wildcards.setdefault(host[1:], _Node())
        return self._exact.setdefault(host, _Node())

    def match(self, *, method: str, host: str, path: str) -> R | MethodNotAllowed | None:
        """Find the route; `host` is lower-case without a port."""
        segments = path[1:].split("/")
        found: list[_Entry[R]] = []
        _collect(self._any, segments, 0, found)
        if self._exact and (tree := self._exact.get(host)) is not None:
            _collect(tree, segments, 0, found)
        if self._wildcards:
            self._collect_wildcards(host, segments, found)
        best: _Entry[R] | None = None
        for entry in found:
            if (best is None or entry.rank < best.rank) and (
                not entry.methods or method in entry.methods
            ):
                best = entry
        if best is not None:
            return best.target
        return MethodNotAllowed(_allow(found)) if found else None

    def _collect_wildcards(
        self, host: str, segments: Sequence[str], found: list[_Entry[R]]
    ) -> None:
        dot = host.find(".")
        while dot > 0:
            if (tree := self._wildcards.get(host[dot:])) is not None:
                _collect(tree, segments, 0, found)
            dot = host.find(".", dot + 1)


def _insert(tree: _Node[R], entry: _Entry[R]) -> None:
    segments = path_segments(entry.target.route.path)
    prefix = segments[-1] == "*"
    node = tree
    for segment in segments[:-1] if prefix else segments:
        if is_parameter(segment):
            node.parameter = node.parameter or _Node()
            node = node.parameter
        else:
            node = node.children.setdefault(segment, _Node())
    (node.below if prefix else node.here).append(entry)


def _collect(node: _Node[R], segments: Sequence[str], depth: int, found: list[_Entry[R]]) -> None:
    """Add every entry whose path matches; a parameter takes exactly one non-empty segment."""
    while True:
        if node.below:
            found += node.below
        if depth == len(segments):
            found += node.here
            return
        segment = segments[depth]
        depth += 1
        if node.parameter is not None and segment:
            _collect(node.parameter, segments, depth, found)
        child = node.children.get(segment)
        if child is None:
            return
        node = child


_ORDER: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def _allow(entries: Iterable[_Entry[R]]) -> str:
    methods = set[str]().union(*(entry.methods for entry in entries))
    known = [method for method in _ORDER if method in methods]
    return ", ".join(known + sorted(methods.difference(_ORDER)))
