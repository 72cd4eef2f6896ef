"""What only the Redis adapter must do: many processes, lost answers, crashes, restarts."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from deploy.servers import ServerProcess, start_redis
from gateway.adapters.quota_memory import WindowUse
from gateway.adapters.quota_redis import RedisQuota
from gateway.core.charges import StoreDown, Taken
from tests.contract.quota_suite import DAY, START, bucket, refused, taken, used, window
from tests.servers import start_or_skip
from tests.waiting import eventually


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    return f"{request.node.nodeid}:"


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[ServerProcess]:
    """A Redis that the test may stop, pause and kill."""
    server = start_or_skip("redis", start_redis, tmp_path)
    yield server
    server.stop()


def test_two_processes_let_exactly_the_limit_through(redis_url: str, prefix: str) -> None:
    module = "tests.integration.gateway.quota.taker_process"
    workers = [
        subprocess.Popen(  # noqa: S603 - our own
            [sys.executable, "-m", module, redis_url, prefix, f"s{n}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for n in range(2)
    ]
    passed = [int(worker.communicate(b"g")[0]) for worker in both(workers)]
    assert sum(passed) == 100


def both(workers: list[subprocess.Popen[bytes]]) -> list[subprocess.Popen[bytes]]:
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write(b"g")
        worker.stdin.flush()
    return workers


async def test_calls_of_one_turn_share_a_round_trip(redis_url: str, prefix: str) -> None:
    quota = RedisQuota(url=redis_url, stream="s1", prefix=prefix)
    with redis.Redis.from_url(redis_url) as client:
        await asyncio.gather(*(quota.take([window()], now_us=START) for _ in range(5)))
        before = client.info("stats")["total_reads_processed"]
        await asyncio.gather(*(quota.take([window()], now_us=START) for _ in range(50)))
        reads = client.info("stats")["total_reads_processed"] - before
    await quota.close()
    assert reads <= 4  # the script calls in one, and the two questions


async def test_a_dead_stream_is_set_to_what_its_spool_says(redis_url: str, prefix: str) -> None:
    dead = RedisQuota(url=redis_url, stream="n1.b0.0", prefix=prefix)
    live = RedisQuota(url=redis_url, stream="n1.b1.0", prefix=prefix)
    exports = window(key="sub_1|exports")
    await taken(dead, window(units=5), exports)
    await taken(live, window(units=2))
    spooled = {"n1.b0.0": {window().key: WindowUse(3, START + DAY)}}
    for _ in range(2):  # repeating it changes nothing
        await live.settle(spooled, now_us=START)
        assert await used(live, window()) == 5
        assert await used(live, exports) == 0
    await taken(live, window(units=5))
    await refused(live, window())
    await dead.close()
    await live.close()


async def test_settling_restores_an_emptied_redis(redis_url: str, prefix: str) -> None:
    quota = RedisQuota(url=redis_url, stream="n1.b1.0", prefix=prefix)
    await quota.settle({"n1.b0.0": {window().key: WindowUse(9, START + DAY)}}, now_us=START)
    await taken(quota, window())
    await refused(quota, window())
    await quota.close()


async def test_counters_expire_some_time_after_their_window(redis_url: str, prefix: str) -> None:
    quota = RedisQuota(url=redis_url, stream="s1", prefix=prefix)
    await taken(quota, window(), bucket())
    with redis.Redis.from_url(redis_url) as client:
        left_ms = client.pttl(f"{prefix}w:{window().key}")
        names = [key.decode() for key in client.keys("*") if key.decode().startswith(prefix)]
        buckets = [name for name in names if name.startswith(f"{prefix}b:")]
        assert DAY // 1000 < left_ms <= DAY // 1000 + 3_600_000
        assert [0 < client.pttl(name) <= 62_000 for name in buckets] == [True]
    await quota.close()


async def test_a_stalled_store_is_said_and_found_again(own_redis: ServerProcess) -> None:
    quota = RedisQuota(url=own_redis.url, stream="s1", timeout_s=0.2)
    await taken(quota, window())
    os.kill(own_redis.pid, signal.SIGSTOP)
    answer = await quota.take([window()], now_us=START)
    assert isinstance(answer, StoreDown)
    os.kill(own_redis.pid, signal.SIGCONT)
    level = (await taken(quota, window(), bucket())).levels[1]
    assert level.remaining == 2  # an answer of its own, no late one of another call
    await quota.close()


async def test_units_given_back_while_the_store_is_away_come_back_once(
    own_redis: ServerProcess,
) -> None:
    quota = RedisQuota(url=own_redis.url, stream="s1", timeout_s=0.2)
    await taken(quota, window(units=9))
    os.kill(own_redis.pid, signal.SIGSTOP)
    await quota.give_back([window(units=2)])
    await quota.give_back([window(units=1)])
    await asyncio.sleep(0.7)  # its requests time out, wait in the socket, and are sent again
    os.kill(own_redis.pid, signal.SIGCONT)
    with redis.Redis.from_url(own_redis.url) as client:
        await eventually(lambda: client.hget(f"tollway:quota:w:{window().key}", "t") == b"6")
        await asyncio.sleep(0.3)
        assert client.hget(f"tollway:quota:w:{window().key}", "t") == b"6"
    await quota.close()


async def test_a_killed_store_comes_back_with_its_counters(own_redis: ServerProcess) -> None:
    quota = RedisQuota(url=own_redis.url, stream="s1", timeout_s=1)
    await taken(quota, window(units=3))
    await asyncio.sleep(1.2)  # its file is synced every second
    own_redis.kill()
    assert isinstance(await quota.take([window()], now_us=START), StoreDown)
    own_redis.start()
    answer = await quota.take([window()], now_us=START)
    assert isinstance(answer, Taken)
    assert answer.levels[0].used == 4
    await quota.close()
