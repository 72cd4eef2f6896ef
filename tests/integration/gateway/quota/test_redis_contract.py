"""The Redis adapter keeps the quota contract on a real Redis."""

from collections.abc import AsyncIterator

import pytest

from gateway.adapters.quota_redis import RedisQuota
from gateway.ports import Quota
from tests.contract.quota_suite import OpenQuota, QuotaContract


class TestRedisQuota(QuotaContract):
    @pytest.fixture
    async def open_quota(
        self, redis_url: str, request: pytest.FixtureRequest
    ) -> AsyncIterator[OpenQuota]:
        opened: list[RedisQuota] = []

        def opener(stream: str) -> Quota:
            prefix = f"{request.node.nodeid}:"
            opened.append(RedisQuota(url=redis_url, stream=stream, prefix=prefix, timeout_s=5))
            return opened[-1]

        yield opener
        for quota in opened:
            await quota.close()
