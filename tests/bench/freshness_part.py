"""How soon a call shows in a usage query: the whole product, in both modes.

From the client's full answer to the first query that counts the call, in two ways. One call at a
time, at most 20 a second: the next is sent when the last has shown. And at a constant rate,
whether or not earlier calls have shown: what queues behind something slow is in these figures.

A call counts as shown when the query that counts it has answered. So polling adds to a figure up
to the step between two answers, and never takes from it; the step is reported beside the ages.
"""

import http.client
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

from deploy.installation import Installation, Ports
from deploy.servers import ServerUnavailableError, free_port
from deploy.up import outside_servers
from metering.queries import UsageFilter, UsageReader, connect
from tests.bench.arithmetic import ages, percentile, spread_of, steps
from tests.bench.report import Figure, InvalidRunError
from tests.integration.crash.installation import LARGE, Running, read, start_upstream

MODES: Final = ("embedded", "stack")
WITHIN_S: Final = 20.0
PACE_S: Final = 0.05
POLL_S: Final = 0.002
RATE_PER_S: Final = 50
PACED_CALLS: Final = 20 * RATE_PER_S
PACED_POLL_S: Final = 0.02  # gentler: the polls go on for the whole run, beside the product
_PATH: Final = "/v1/status/200"


def run_freshness(
    folder: Path, *, rounds: int, calls: int = 100, paced_calls: int = PACED_CALLS,
    modes: tuple[str, ...] = MODES,
) -> tuple[list[Figure], list[str]]:  # fmt: skip
    """Measure so many calls a round, one by one and paced; a mode without its servers is named.

    :raises InvalidRunError: when a call does not show in time.
    """
    found: list[Figure] = []
    skipped: list[str] = []
    for mode in modes:
        try:
            with _running(folder / mode, mode) as installation:
                found += _measure(installation, rounds=rounds, calls=calls, paced=paced_calls)
        except ServerUnavailableError as error:
            skipped.append(f"freshness, {mode}: {error}")
    return found, skipped


@contextmanager
def _running(data: Path, mode: str) -> Iterator[Installation]:
    with outside_servers(mode, data) as outside:
        installation = Installation(
            mode=mode, data=data, ports=Ports.free(), outside=outside,
            workers=1 if mode == "embedded" else 2,
        )  # fmt: skip
        port = free_port()
        running, upstream = Running(installation), start_upstream(port)
        try:
            running.start(f"http://127.0.0.1:{port}")
            yield installation
        finally:
            running.close()
            upstream.terminate()
            upstream.wait()


def _measure(installation: Installation, *, rounds: int, calls: int, paced: int) -> list[Figure]:
    reader = connect(installation.secret("clickhouse_readonly_url"))
    send = partial(read, installation.gateway_url + _PATH, key=LARGE)
    _delays(send, reader, seen=0, calls=10)  # warm: connections, code, the first part
    runs = [_delays(send, reader, seen=10 + n * calls, calls=calls) for n in range(rounds)]
    seen = 10 + rounds * calls
    at_rate = [
        _paced(installation.ports.gateway, reader, seen=seen + n * paced, calls=paced)
        for n in range(rounds)
    ]
    rows = [
        ("call to usage query", (50, 99), runs),
        (f"at {RATE_PER_S}/s: call to usage query", (50, 99), [run.ages for run in at_rate]),
        (f"at {RATE_PER_S}/s: query to query", (50, 99), [run.steps for run in at_rate]),
        (f"at {RATE_PER_S}/s: sent behind schedule", (99,), [run.late for run in at_rate]),
    ]
    return [
        Figure(
            f"freshness, {installation.mode}", f"{name}, p{percent}",
            spread_of([percentile(run, percent) for run in values]), "ms",
        )
        for name, percents, values in rows
        for percent in percents
    ]  # fmt: skip


def _delays(send: partial[bytes], reader: UsageReader, *, seen: int, calls: int) -> list[float]:
    """Send one call after the other; return how long each took to show, in milliseconds."""
    found = []
    for number in range(seen + 1, seen + calls + 1):
        began = time.monotonic()
        send()
        answered = time.monotonic()
        while _events(reader) < number:
            if time.monotonic() > answered + WITHIN_S:
                msg = f"call {number} does not show within {WITHIN_S} s"
                raise InvalidRunError(msg)
            time.sleep(POLL_S)
        found.append((time.monotonic() - answered) * 1000)
        time.sleep(max(0.0, began + PACE_S - time.monotonic()))
    return found


@dataclass(frozen=True, slots=True)
class Paced:
    """A run at a constant rate, in milliseconds.

    ages    of each call, from its answer to the answer of the first query that counts it
    steps   between the answers of two queries
    late    how far behind its place in the schedule each call was sent
    """

    ages: list[float]
    steps: list[float]
    late: list[float]


def _paced(port: int, reader: UsageReader, *, seen: int, calls: int) -> Paced:
    """Send calls on schedule and poll beside it.

    All calls go over one connection, so to one worker and one stream: they show in the order in
    which they were answered, and the n-th answer belongs to the first count of n.
    """
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(_send_on_schedule, port, calls)
        polls = _poll(reader, sending, seen=seen, calls=calls)
        late, answered = sending.result()
    return Paced(ages(answered, polls), steps([at_ms for at_ms, _ in polls]), late)


def _send_on_schedule(port: int, calls: int) -> tuple[list[float], list[float]]:
    """Return of each call how late it was sent, and when its answer was complete."""
    late, answered = [], []
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WITHIN_S)
    begun_ms = _now_ms()
    for number in range(calls):
        due_ms = begun_ms + number * 1000 / RATE_PER_S
        time.sleep(max(0.0, (due_ms - _now_ms()) / 1000))
        late.append(_now_ms() - due_ms)
        connection.request("GET", _PATH, headers={"X-API-Key": LARGE})
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            msg = f"call {number + 1} got {answer.status}"
            raise InvalidRunError(msg)
        answered.append(_now_ms())
    connection.close()
    return late, answered


def _poll(
    reader: UsageReader, sending: Future[tuple[list[float], list[float]]], *, seen: int, calls: int
) -> list[tuple[float, int]]:
    """Ask until all calls are counted; return when each query answered, and how many it had.

    :raises InvalidRunError: when one does not show in time.
    """
    polls: list[tuple[float, int]] = []
    while not polls or polls[-1][1] < calls:
        if sending.done():
            _, answered = sending.result()
            if _now_ms() > answered[-1] + WITHIN_S * 1000:
                msg = f"not all of {calls} calls show within {WITHIN_S} s"
                raise InvalidRunError(msg)
        time.sleep(PACED_POLL_S)
        count = _events(reader) - seen
        polls.append((_now_ms(), count))
    return polls


def _now_ms() -> float:
    return time.monotonic() * 1000


def _events(reader: UsageReader) -> int:
    now = datetime.now(UTC)  # noqa: TID251 - the bench stands outside the product
    edge = timedelta(hours=1)
    where = UsageFilter(start=now - edge, end=now + edge, everyone=True)
    return int(reader.usage(where).total.events)
