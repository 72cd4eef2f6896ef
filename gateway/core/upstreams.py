"""An upstream as the proxy uses it: parsed targets, an exact weighted cycle, the request head."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from math import gcd
from typing import Final, NamedTuple

from gateway.contracts.snapshot import Route, SnapshotError, Upstream
from gateway.core.target import Target

_TARGET_URL: Final = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9.\-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>\d{1,5}))?/?\Z"
)
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_MAX_CYCLE: Final = 10_000
_BASE_PATH: Final = re.compile(r"(?:/[A-Za-z0-9._~\-]+)*\Z")


class UpstreamTarget(NamedTuple):
    """One place to connect to, and the key of its pool; `authority` is its own Host value."""

    host: str
    port: int
    tls: bool
    authority: str


@dataclass(frozen=True, slots=True)
class CompiledUpstream:
    """cycle   targets in the order to use, each as often as its weight says; empty = none alive"""

    upstream: Upstream
    cycle: tuple[UpstreamTarget, ...]


def parse_target_url(url: str, *, where: str) -> UpstreamTarget:
    """Read `http(s)://host[:port]`.

    :raises SnapshotError: naming `where`.
    """
    match = _TARGET_URL.match(url)
    if match is None or not 0 < int(match["port"] or 1) < 65_536:
        msg = f"{where}: not http(s)://host:port: {url!r}"
        raise SnapshotError(msg)
    scheme, host = match["scheme"], match["host"]
    port = int(match["port"] or _DEFAULT_PORTS[scheme])
    authority = host if port == _DEFAULT_PORTS[scheme] else f"{host}:{port}"
    return UpstreamTarget(host.strip("[]"), port, scheme == "https", authority)


def weighted_cycle(weights: Mapping[str, int]) -> list[str]:
    """Spread the names over one cycle, each exactly as often as its weight (smooth).

    >>> "".join(weighted_cycle({"a": 4, "b": 2, "c": 0}))
    'aba'
    """
    alive = {name: weight for name, weight in weights.items() if weight > 0}
    if not alive:
        return []
    divisor = reduce(gcd, alive.values())
    shares = {name: weight // divisor for name, weight in alive.items()}
    total = sum(shares.values())
    current = dict.fromkeys(shares, 0)
    cycle = []
    for _ in range(total):
        for name, share in shares.items():
            current[name] += share
        best = max(current, key=lambda name: current[name])
        current[best] -= total
        cycle.append(best)
    return cycle


def compile_upstream(upstream: Upstream) -> CompiledUpstream:
    """Check and parse an upstream.

    :raises SnapshotError: for a target or base path that cannot be used.
    """
    where = f"upstreams.{upstream.id}"
    targets = {url: parse_target_url(url, where=where) for url in upstream.targets}
    if sum(upstream.targets.values()) > _MAX_CYCLE:
        msg = f"{where}.targets: the weights may add up to {_MAX_CYCLE} at most"
        raise SnapshotError(msg)
    if not _BASE_PATH.match(upstream.base_path):
        msg = f"{where}.base_path: not a plain path without a trailing slash"
        raise SnapshotError(msg)
    cycle = tuple(targets[url] for url in weighted_cycle(upstream.targets))
    return CompiledUpstream(upstream, cycle)


def upstream_path(route: Route, upstream: Upstream, target: Target) -> str:
    """Return path and query to ask the upstream for; bytes stay as the client wrote them.

    >>> route = Route(id="r", api_id="a", name="r", upstream_id="u", path="/v1/*",
    ...               strip_prefix="/v1")
    >>> upstream = Upstream(id="u", targets={}, base_path="/base")
    >>> upstream_path(route, upstream, Target("/v1/x%41", "q=1"))
    '/base/x%41?q=1'
    """
    path = target.path
    prefix = route.strip_prefix
    if prefix and (path == prefix or path.startswith(prefix + "/")):
        path = path[len(prefix) :] or "/"
    path = upstream.base_path + path
    return path if target.query is None else f"{path}?{target.query}"
