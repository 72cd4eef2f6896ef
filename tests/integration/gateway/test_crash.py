"""`kill -9` of the gateway at random: the acknowledged is spooled once, counters agree."""

import http.client
import random
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from gateway.contracts.access_log import Charge, Kind
from tests.factories.events import events_of
from tests.gateway_process import KEY, GatewayProcess, one_api_snapshot

KILLS = 6
CLIENTS = 4


class Client(threading.Thread):
    """Sends requests one after the other and keeps the ids of those it read to the end."""

    def __init__(self, port: int, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.port, self.stop = port, stop
        self.acknowledged: list[str] = []
        self.undecided = 0

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        while not self.stop.is_set():
            try:
                connection.request("GET", "/v1/countries/de", headers={"X-API-Key": KEY})
                response = connection.getresponse()
                response.read()
                if response.status == 200:
                    self.acknowledged.append(response.headers["X-Request-Id"])
            except (OSError, http.client.HTTPException):
                self.undecided += 1
                connection.close()
                time.sleep(0.02)
        connection.close()


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_nothing_acknowledged_is_lost_or_doubled(tmp_path: Path, upstream_url: str) -> None:
    gateway = GatewayProcess(tmp_path / "data", one_api_snapshot(upstream_url))
    gateway.start()
    stop = threading.Event()
    clients = [Client(gateway.port, stop) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    rng = random.Random(7)
    for _ in range(KILLS):
        time.sleep(0.3 + rng.random() / 2)
        gateway.kill()
        gateway.start()
    time.sleep(0.3)
    stop.set()
    for client in clients:
        client.join()
    used = 1_000_000 - int(gateway.get("/v1/countries/de", key=KEY)[1]["x-ratelimit-remaining"])
    assert gateway.stop() == 0

    acknowledged = [request_id for client in clients for request_id in client.acknowledged]
    events = [e for p in sorted((gateway.data / "spool").glob("*/*.seg")) for e in events_of(p)]
    billed = Counter(
        e.request_id for e in events if e.kind is Kind.REQUEST and e.charge is Charge.BILLED
    )
    assert len(acknowledged) > 200
    assert [i for i in acknowledged if billed[i] != 1] == []
    assert max(billed.values()) == 1
    # undecided requests may be billed; at most one per client and kill can be in flight
    assert len(billed) - 1 - len(acknowledged) <= CLIENTS * KILLS
    assert used == len(billed)  # the counter after every crash is what the spool says
    for stream in {e.stream for e in events}:
        seqs = [e.seq for e in events if e.stream == stream]
        assert seqs == list(range(1, len(seqs) + 1))
        assert [e for e in events if e.stream == stream][-1].final
