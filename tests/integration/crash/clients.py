"""Clients of the crash test: what each request got, as its client can know it.

ok     the complete answer was read
fail   the same, and it is an error
info   anything else: the request was sent, and then the connection broke

A connection that is refused sent nothing: the same request is tried again.
"""

import http.client
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

TIMEOUT_S: Final = 30.0
_AGAIN_S: Final = 0.02


class Verdict(StrEnum):
    OK = "ok"
    FAIL = "fail"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Call:
    """One kind of request."""

    name: str
    path: str
    key: str
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    request_id: str
    call: Call
    verdict: Verdict
    status: int = 0


class Client(threading.Thread):
    """Sends its share of requests one behind the other on one connection."""

    def __init__(
        self, *, number: int, port: int, requests: int, weights: Mapping[Call, int], seed: int,
        deadline_s: float,
    ) -> None:  # fmt: skip
        super().__init__(daemon=True)
        self.answers: list[Answer] = []
        self._number = number
        self._requests = requests
        self._weights = weights
        self._random = random.Random(f"{seed}/{number}")
        self._deadline_s = deadline_s
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)

    def run(self) -> None:
        calls, weights = list(self._weights), list(self._weights.values())
        for number in range(self._requests):
            (call,) = self._random.choices(calls, weights)
            if not self._connect():
                break
            self.send(call, f"c{self._number:02d}-{number:06d}")
        self.close()

    def close(self) -> None:
        self._connection.close()

    def _connect(self) -> bool:
        """Have a connection; False when none can be had any more."""
        while self._connection.sock is None:
            if time.monotonic() > self._deadline_s:
                return False
            try:
                self._connection.connect()
            except OSError:
                self._connection.close()
                time.sleep(_AGAIN_S)
        return True

    def send(self, call: Call, request_id: str) -> Answer:
        """Send one request and note what became of it."""
        verdict, status = Verdict.INFO, 0
        try:
            self._connection.request(
                "POST" if call.body else "GET", call.path, body=call.body or None,
                headers={"X-API-Key": call.key, "X-Request-Id": request_id},
            )  # fmt: skip
            response = self._connection.getresponse()
            response.read()
            status = response.status
            verdict = Verdict.OK if status < 400 else Verdict.FAIL
        except (OSError, http.client.HTTPException):
            self._connection.close()
            time.sleep(_AGAIN_S)
        answer = Answer(request_id, call, verdict, status)
        self.answers.append(answer)
        return answer


class Crowd:
    """All clients of a run."""

    def __init__(self, build: Callable[[int], Client], *, count: int) -> None:
        self.clients = [build(number) for number in range(count)]

    @property
    def answers(self) -> list[Answer]:
        return [answer for client in self.clients for answer in client.answers]

    @property
    def done(self) -> int:
        return sum(len(client.answers) for client in self.clients)

    @property
    def running(self) -> bool:
        return any(client.is_alive() for client in self.clients)

    def start(self) -> None:
        for client in self.clients:
            client.start()

    def join(self) -> None:
        for client in self.clients:
            client.join()
