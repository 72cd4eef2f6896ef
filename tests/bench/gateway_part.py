"""Part one: our gateway against nginx with the same steps, in one interleaved run.

Every round loads each side in turn, so that a slow minute of the machine slows all of them; what
is reported is the ratio inside each round. A run counts only when every request got a 200 with the
upstream's body and stands in the side's log exactly once, give or take what was in flight when wrk
hung up.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from deploy.servers import ServerUnavailableError, start_redis
from tests.bench.arithmetic import paired_ratios, spread_of
from tests.bench.machine import Cores, cpu_s, pinned, split_cores
from tests.bench.nginx import BODY, NginxGateway, start_upstream
from tests.bench.probe import check_side
from tests.bench.report import Figure, InvalidRunError, figures
from tests.bench.tollway import TollwayGateway, build_keys
from tests.bench.wrk import CONNECTIONS, Load, Wrk

KEYS: Final = 5_000
_PROBED_KEYS: Final = 96
_PACED_PER_S: Final = 4_000
_PAUSE_MS: Final = CONNECTIONS * 1000 // _PACED_PER_S


class Side(Protocol):
    """A gateway under test."""

    @property
    def name(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def pid(self) -> int: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def recorded(self) -> int: ...


@dataclass
class Runs:
    """What one side did, round by round."""

    per_s: list[float] = field(default_factory=list)
    per_cpu_s: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)  # CPU seconds of the gateway per second
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    paced_per_s: list[float] = field(default_factory=list)
    paced_p50_ms: list[float] = field(default_factory=list)
    paced_p99_ms: list[float] = field(default_factory=list)
    acknowledged: int = 0
    hung_up: int = 0  # runs of wrk; each ends with up to CONNECTIONS requests in flight

    def add(self, load: Load, *, used_s: float) -> None:
        self.per_s.append(load.per_s)
        self.per_cpu_s.append(load.requests / used_s)
        self.busy.append(used_s * 1e6 / load.duration_us)
        self.p50_ms.append(load.p50_us / 1000)
        self.p99_ms.append(load.p99_us / 1000)

    def add_paced(self, load: Load) -> None:
        self.paced_per_s.append(load.per_s)
        self.paced_p50_ms.append(load.p50_us / 1000)
        self.paced_p99_ms.append(load.p99_us / 1000)

    def note(self, load: Load) -> Load:
        self.acknowledged += load.requests
        self.hung_up += 1
        return load


def check_recorded(name: str, *, recorded: int, acknowledged: int, in_flight: int) -> None:
    """Hold a side's log against what its clients were told.

    :raises InvalidRunError: when an acknowledged request is missing, or there are too many.
    """
    if not acknowledged <= recorded <= acknowledged + in_flight:
        msg = (
            f"{name} recorded {recorded} requests; {acknowledged} were acknowledged and at most "
            f"{in_flight} in flight"
        )
        raise InvalidRunError(msg)


def run_gateway(
    folder: Path, *, rounds: int, seconds: int, keys: int = KEYS
) -> tuple[list[Figure], list[str]]:
    """Measure all sides; return the figures, and what was left out and why."""
    skipped: list[str] = []
    cores = split_cores()
    if not cores.apart:
        skipped.append("gateway: one core only, so that load and gateway share it")
    with _sides(folder, cores, build_keys(keys), skipped) as sides:
        wrk = Wrk(folder, build_keys(keys))
        runs = {side.name: Runs() for side in sides}
        for side in sides:
            _warm_up(side, runs[side.name], wrk, cores)
        for _ in range(rounds):
            for side in sides:
                _measure(side, runs[side.name], wrk, cores, seconds)
        for side in sides:
            runs[side.name].acknowledged += _probe(side)
    for side in sides:
        seen = runs[side.name]
        check_recorded(
            side.name, recorded=side.recorded(), acknowledged=seen.acknowledged,
            in_flight=seen.hung_up * CONNECTIONS,
        )  # fmt: skip
    return [
        f for side in sides for f in _figures(side.name, runs[side.name], runs["nginx"])
    ], skipped


@contextmanager
def _sides(
    folder: Path, cores: Cores, keys: Sequence[str], skipped: list[str]
) -> Iterator[list[Side]]:
    with ExitStack() as stack:
        with pinned(cores.load):
            upstream, port = start_upstream(folder / "upstream")
            stack.callback(upstream.stop)
            redis_url = ""
            try:
                redis = start_redis(folder / "redis")
                stack.callback(redis.stop)
                redis_url = redis.url
            except ServerUnavailableError as error:
                skipped.append(f"gateway with quota in Redis: {error}")
        sides: list[Side] = [
            NginxGateway(folder / "nginx", upstream_port=port, keys=keys),
            TollwayGateway(folder / "memory", upstream_port=port, keys=keys),
        ]
        if redis_url:
            sides.append(
                TollwayGateway(
                    folder / "shared", upstream_port=port, keys=keys, redis_url=redis_url
                )
            )
        with pinned(cores.gateway):
            for side in sides:
                side.start()
                stack.callback(side.stop)
        yield sides


def _probe(side: Side) -> int:
    return check_side(side.port, keys=build_keys(_PROBED_KEYS), body=BODY)


def _warm_up(side: Side, runs: Runs, wrk: Wrk, cores: Cores) -> None:
    runs.acknowledged += _probe(side)
    with pinned(cores.load):
        runs.note(wrk.run(side.port, seconds=1))


def _measure(side: Side, runs: Runs, wrk: Wrk, cores: Cores, seconds: int) -> None:
    with pinned(cores.load):
        before_s = cpu_s(side.pid)
        load = runs.note(wrk.run(side.port, seconds=seconds))
        runs.add(load, used_s=cpu_s(side.pid) - before_s)
        runs.add_paced(runs.note(wrk.run(side.port, seconds=seconds, pause_ms=_PAUSE_MS)))


def _figures(name: str, runs: Runs, base: Runs) -> list[Figure]:
    part = f"gateway: {name}"
    found = figures(part, [
        ("requests per CPU second of the gateway", spread_of(runs.per_cpu_s), "1/s"),
        ("requests a second", spread_of(runs.per_s), "1/s"),
        ("cores in use", spread_of(runs.busy), "cores"),
        ("p50", spread_of(runs.p50_ms), "ms"),
        ("p99", spread_of(runs.p99_ms), "ms"),
        ("paced: requests a second", spread_of(runs.paced_per_s), "1/s"),
        ("paced: p50", spread_of(runs.paced_p50_ms), "ms"),
        ("paced: p99", spread_of(runs.paced_p99_ms), "ms"),
    ])  # fmt: skip
    if runs is base:
        return found
    return found + figures(f"{part} / nginx", [
        ("requests per CPU second", spread_of(paired_ratios(runs.per_cpu_s, base.per_cpu_s)), "x"),
        ("requests a second", spread_of(paired_ratios(runs.per_s, base.per_s)), "x"),
        ("p50", spread_of(paired_ratios(runs.p50_ms, base.p50_ms)), "x"),
        ("p99", spread_of(paired_ratios(runs.p99_ms, base.p99_ms)), "x"),
        ("paced: p99", spread_of(paired_ratios(runs.paced_p99_ms, base.paced_p99_ms)), "x"),
        ("paced: p50 above nginx", spread_of(_above(runs.paced_p50_ms, base.paced_p50_ms)), "ms"),
    ])  # fmt: skip


def _above(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    return [one - other for one, other in zip(ours, theirs, strict=True)]
