"""20,000 requests while gateway, shipper and sink are killed 20 times at random, in both modes.

Every acknowledged request is in ClickHouse once, none twice, `verify_usage` is complete, and the
quota counters are what was billed and counted.

The seed says what each client sends, which process is killed and after how many answers. It is
the same in every run; `TOLLWAY_CRASH_SEED` sets another one, `TOLLWAY_CRASH_REQUESTS` the size.
What no seed can repeat is the instant at which a kill lands: how threads and processes interleave,
so which requests are in flight, what is on the disk, which answers end as `info`. The invariants
hold for every interleaving; only the printed figures differ from run to run.
"""

import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from deploy.installation import Installation, Outside, Ports
from deploy.servers import ServerProcess, free_port, start_kafka, start_postgres, start_redis
from gateway.adapters.spool_files import stream_dirs
from metering.queries import connect
from tests.integration.crash.clients import Answer, Call, Client, Crowd
from tests.integration.crash.installation import (
    LARGE,
    SMALL,
    SMALL_QUOTA,
    Running,
    read,
    start_upstream,
)
from tests.integration.crash.schedule import Kill, build_schedule
from tests.integration.crash.verdict import read_log, undecided, violations
from tests.servers import start_or_skip
from tests.waiting import eventually_sync

REQUESTS: Final = int(os.environ.get("TOLLWAY_CRASH_REQUESTS", "20000"))
SEED: Final = int(os.environ.get("TOLLWAY_CRASH_SEED") or 1)
CLIENTS: Final = 8
RUN_WITHIN_S: Final = 480
DRAIN_WITHIN_S: Final = 180
TIMEOUT_S: Final = 900
WEIGHTS: Final = {
    Call("ok", "/v1/status/200", LARGE): 60,
    Call("not found", "/v1/status/404", LARGE): 11,
    Call("fault", "/v1/status/500", LARGE): 8,
    Call("post", "/v1/echo", LARGE, body=b"payload"): 9,
    Call("slow", "/v1/slow", LARGE): 4,
    Call("limited", "/v1/status/200", SMALL): 8,
}
WORKER_KILLED: Final = -9 & 0xFF  # the parent's exit code
LAST: Final = Call("last", "/v1/status/200", SMALL)


@dataclass
class Run:
    """One run over an installation; `servers` are the real ones that it may kill beside."""

    running: Running
    upstream_port: int
    seed: int
    servers: dict[str, ServerProcess] = field(default_factory=dict)
    started_s: float = field(default_factory=time.monotonic)

    def play(self, *, targets: dict[str, int], beside: dict[str, int]) -> None:
        """Send all requests under the schedule, settle, and check every invariant."""
        self.running.start(f"http://127.0.0.1:{self.upstream_port}")
        crowd = Crowd(self._client, count=CLIENTS)
        kills = sorted(
            build_schedule(seed=self.seed, requests=REQUESTS, targets=targets)
            + build_schedule(seed=self.seed + 1, requests=REQUESTS, targets=beside)
        )
        crowd.start()
        for kill in kills:
            self._kill(kill, crowd)
        crowd.join()
        assert crowd.done == REQUESTS
        answers = crowd.answers + self._settle()
        self._report(answers, targets)
        self._check(answers)

    def _client(self, number: int) -> Client:
        share = REQUESTS // CLIENTS + (number < REQUESTS % CLIENTS)
        return Client(
            number=number, port=self.running.installation.ports.gateway, requests=share,
            weights=WEIGHTS, seed=self.seed, deadline_s=self.started_s + RUN_WITHIN_S,
        )  # fmt: skip

    def _kill(self, kill: Kill, crowd: Crowd) -> None:
        within_s = self.started_s + RUN_WITHIN_S - time.monotonic()
        eventually_sync(lambda: crowd.done >= kill.after or not crowd.running, within_s=within_s)
        time.sleep(kill.delay_s)
        if (server := self.servers.get(kill.target)) is not None:
            server.kill()
            server.start()
        else:
            self.running.kill(kill.target)

    def _settle(self) -> list[Answer]:
        """Stop in order, start again: what was in flight is settled. Then use up what is left."""
        running = self.running
        running.wait_for_gateway()
        assert running["gateway"].stop() == 0
        running["gateway"].start()
        running.wait_for_gateway()
        last = self._client(CLIENTS)
        for number in range(SMALL_QUOTA + 1):
            if last.send(LAST, f"last-{number:04d}").status != 200:
                break
        last.close()
        assert last.answers[-1].status == 429
        return last.answers

    def _used(self) -> list[int]:
        """Ask the gateway what each customer has used."""
        url = f"{self.running.installation.gateway_url}/me/usage"
        reports = [json.loads(read(url, key=key)) for key in (SMALL, LARGE)]
        return [report["usage"][0]["meters"][0]["used"] for report in reports]

    def _drained(self) -> bool:
        """Tell whether every stream of the spool is in ClickHouse to its end."""
        installation = self.running.installation
        proofs = connect(installation.secret("clickhouse_readonly_url")).proofs()
        here = {path.name for path in stream_dirs(installation.data / "spool")}
        return here <= {p.stream for p in proofs} and all(p.ended for p in proofs)

    def _report(self, answers: list[Answer], targets: dict[str, int]) -> None:
        verdicts = Counter(answer.verdict.value for answer in answers)
        statuses = Counter(answer.status for answer in answers)
        print(  # noqa: T201 - the figures are what the test is for
            f"seed {self.seed}: {len(answers)} requests, kills {targets}, {dict(verdicts)}, "
            f"statuses {dict(sorted(statuses.items()))}, "
            f"{time.monotonic() - self.started_s:.0f} s"
        )

    def _check(self, answers: list[Answer]) -> None:
        running = self.running
        ends = running.unexpected_ends
        assert set(ends.pop("gateway", ())) <= {WORKER_KILLED}
        assert ends == {}  # the others live through outages of what they need
        used = self._used()
        assert running["gateway"].stop() == 0
        eventually_sync(self._drained, within_s=DRAIN_WITHIN_S)
        log = read_log(running.installation.secret("clickhouse_url"))
        seen = json.loads(read(f"http://127.0.0.1:{self.upstream_port}/seen"))
        assert violations(answers, log, seen) == []
        assert log.seqs_twice == 0
        unknown = undecided(answers, log, seen)
        print(unknown)  # noqa: T201 - figures
        assert unknown.reached <= CLIENTS * running.worker_ends  # one in flight per connection
        assert used[0] == SMALL_QUOTA
        assert sorted(log.used.values()) == used
        code, said = running.verify_usage()
        assert code == 0, said
        assert said.endswith("complete\n"), said
        assert "held back" not in said
        proofs = connect(running.installation.secret("clickhouse_readonly_url")).proofs()
        assert {(p.missing, p.duplicates, p.dead_letters) for p in proofs} == {(0, 0, 0)}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: PostgreSQL's socket lies in it."""
    with tempfile.TemporaryDirectory(prefix="tollway-") as name:
        yield Path(name)


def play(
    running: Running, *, targets: dict[str, int], beside: dict[str, int],
    servers: dict[str, ServerProcess],
) -> None:  # fmt: skip
    print(f"TOLLWAY_CRASH_SEED={SEED}")  # noqa: T201 - to run the same schedule again
    port = free_port()
    upstream = start_upstream(port)
    try:
        Run(running, port, SEED, servers).play(targets=targets, beside=beside)
    except BaseException:
        print(running.tails)  # noqa: T201 - what the processes said, for a failing test
        raise
    finally:
        running.close()
        upstream.terminate()
        upstream.wait()


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_S)
def test_embedded(folder: Path) -> None:
    installation = Installation(mode="embedded", data=folder / "data", ports=Ports.free())
    play(
        Running(installation),
        targets={"gateway": 10, "sink": 10}, beside={"clickhouse": 1}, servers={},
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_S)
def test_stack(folder: Path) -> None:
    with ExitStack() as stack:
        servers = {}
        for name, start in (("redis", start_redis), ("kafka", start_kafka)):
            servers[name] = start_or_skip(name, start, folder / name)
            stack.callback(servers[name].stop)
        database = start_or_skip("postgres", start_postgres, folder / "postgres")
        stack.callback(database.stop)
        installation = Installation(
            mode="stack", data=folder / "data", ports=Ports.free(), workers=2,
            outside=Outside(database.url, servers["redis"].url, servers["kafka"].url),
        )  # fmt: skip
        play(
            Running(installation),
            targets={"gateway": 4, "worker-0": 2, "worker-1": 2, "shipper": 6,
                     "sink-0": 3, "sink-1": 3},
            beside={"clickhouse": 1, "redis": 1, "kafka": 1}, servers=servers,
        )  # fmt: skip
