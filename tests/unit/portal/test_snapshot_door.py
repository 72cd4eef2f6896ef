"""The long-poll's parts that need no database: the ticker, the token, the time limit."""

import asyncio
from typing import Any

import pytest

from portal.views.internal import PollInvalidError, SnapshotDoor, Ticker, parse_poll


async def test_one_tick_answers_all_waiters_and_stops_when_none_waits() -> None:
    ticks = 0

    async def tick() -> int:
        nonlocal ticks
        ticks += 1
        return 7 if ticks >= 3 else 6

    ticker = Ticker(tick, interval_s=0.005)
    answers = await asyncio.gather(
        *(ticker.other_than(frozenset({6}), timeout_s=5) for _ in range(50))
    )
    assert answers == [7] * 50
    assert ticks == 3
    await asyncio.sleep(0.03)
    assert ticks == 3


async def test_without_another_version_the_wait_ends() -> None:
    async def tick() -> int:
        return 6

    ticker = Ticker(tick, interval_s=0.005)
    assert await ticker.other_than(frozenset({6}), timeout_s=0.03) is None


async def test_a_gateway_ahead_of_the_portal_gets_what_there_is() -> None:
    async def tick() -> int:
        return 3

    assert await Ticker(tick).other_than(frozenset({40}), timeout_s=1) == 3


def test_a_poll_holds_nothing_that_its_row_could_not() -> None:
    headers = {"tollway-node": "n", "tollway-boot": "b", "tollway-worker": "7"}
    poll = parse_poll(headers, "after=1&refused=999999999999999999&reason=a%00b")
    assert (poll.worker, poll.refused, poll.reason) == (7, 10**18 - 1, "ab")
    for name, value in (("tollway-worker", "4294967296"), ("tollway-node", "n" * 81)):
        with pytest.raises(PollInvalidError):
            parse_poll({**headers, name: value}, "")


@pytest.mark.parametrize(
    ("token", "method", "sent", "status"),
    [
        ("", "GET", "Bearer ", 503),
        ("secret", "GET", "Bearer secre", 401),
        ("secret", "GET", "secret", 401),
        ("secret", "POST", "Bearer secret", 405),
        ("secret", "GET", "Bearer secret", 400),
    ],
)
async def test_who_may_ask(token: str, method: str, sent: str, status: int) -> None:
    answers: list[Any] = []

    async def send(message: Any) -> None:
        answers.append(message)

    async def receive() -> Any:
        raise AssertionError("nothing is read before the token is checked")

    scope = {"method": method, "headers": [(b"authorization", sent.encode())], "query_string": b""}
    await SnapshotDoor(token=token)(scope, receive, send)
    assert answers[0]["status"] == status
