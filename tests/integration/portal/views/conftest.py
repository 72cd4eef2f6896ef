"""Pages are tested over a request log in memory."""

from collections.abc import Iterator

import pytest

from portal.clock import now
from portal.usage import override
from tests.fakes.request_log import FakeRequestLog


@pytest.fixture
def log(db: None) -> Iterator[FakeRequestLog]:
    fake = FakeRequestLog(now=now())
    with override(fake):
        yield fake
