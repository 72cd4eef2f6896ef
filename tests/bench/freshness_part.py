"""How soon a call shows in a usage query: the whole product, in both modes.

One call at a time, at most 20 a second: from the client's full answer to the first query that
counts it. Polling adds up to one query's time to a figure, never takes from it.
"""

import time
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

from deploy.installation import Installation, Ports
from deploy.servers import ServerUnavailableError, free_port
from deploy.up import outside_servers
from metering.queries import UsageFilter, UsageReader, connect
from tests.bench.arithmetic import percentile, spread_of
from tests.bench.report import Figure, InvalidRunError
from tests.integration.crash.installation import LARGE, Running, read, start_upstream

MODES: Final = ("embedded", "stack")
WITHIN_S: Final = 20.0
PACE_S: Final = 0.05
POLL_S: Final = 0.002


def run_freshness(
    folder: Path, *, rounds: int, calls: int = 100, modes: tuple[str, ...] = MODES
) -> tuple[list[Figure], list[str]]:
    """Measure `calls` calls a round in each mode; a mode without its servers is named.

    :raises InvalidRunError: when a call does not show in time.
    """
    found: list[Figure] = []
    skipped: list[str] = []
    for mode in modes:
        try:
            found += _measure(folder / mode, mode, rounds=rounds, calls=calls)
        except ServerUnavailableError as error:
            skipped.append(f"freshness, {mode}: {error}")
    return found, skipped


def _measure(data: Path, mode: str, *, rounds: int, calls: int) -> list[Figure]:
    with outside_servers(mode, data) as outside:
        installation = Installation(
            mode=mode, data=data, ports=Ports.free(), outside=outside,
            workers=1 if mode == "embedded" else 2,
        )  # fmt: skip
        port = free_port()
        running, upstream = Running(installation), start_upstream(port)
        try:
            running.start(f"http://127.0.0.1:{port}")
            reader = connect(installation.secret("clickhouse_readonly_url"))
            url = f"{installation.gateway_url}/v1/status/200"
            send = partial(read, url, key=LARGE)
            _delays(send, reader, seen=0, calls=10)  # warm: connections, code, the first part
            runs = [_delays(send, reader, seen=10 + n * calls, calls=calls) for n in range(rounds)]
        finally:
            running.close()
            upstream.terminate()
            upstream.wait()
    return [
        Figure(
            f"freshness, {mode}", f"call to usage query, p{percent}",
            spread_of([percentile(run, percent) for run in runs]), "ms",
        )
        for percent in (50, 99)
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


def _events(reader: UsageReader) -> int:
    now = datetime.now(UTC)  # noqa: TID251 - the bench stands outside the product
    edge = timedelta(hours=1)
    where = UsageFilter(start=now - edge, end=now + edge, everyone=True)
    return int(reader.usage(where).total.events)
