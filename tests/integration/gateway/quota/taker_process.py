"""A worker of its own: takes 100 times at once and prints how many passed.

Run as `python -m tests.integration.gateway.quota.taker_process URL PREFIX STREAM`.
"""

import asyncio
import sys

from gateway.adapters.quota_redis import RedisQuota
from gateway.core.charges import Taken
from tests.contract.quota_suite import START, window


async def main(url: str, prefix: str, stream: str) -> None:
    quota = RedisQuota(url=url, stream=stream, prefix=prefix, timeout_s=10)
    charge = window(limit=100, quota=100)
    sys.stdin.read(1)  # both processes start at once
    answers = await asyncio.gather(*(quota.take([charge], now_us=START) for _ in range(100)))
    await quota.close()
    sys.stdout.write(str(sum(isinstance(answer, Taken) for answer in answers)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
