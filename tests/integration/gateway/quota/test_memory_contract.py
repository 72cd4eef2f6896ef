"""The memory adapter keeps the quota contract."""

import pytest

from gateway.adapters.quota_memory import MemoryQuota
from gateway.ports import Quota
from tests.contract.quota_suite import OpenQuota, QuotaContract


class TestMemoryQuota(QuotaContract):
    @pytest.fixture
    def open_quota(self) -> OpenQuota:
        quota = MemoryQuota()

        def opener(_: str) -> Quota:
            return quota

        return opener
