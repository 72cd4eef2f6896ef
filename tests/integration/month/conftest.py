"""The real parts of an installation, and one clock over all of them."""

from tests.clickhouse import clickhouse
from tests.integration.stripe_double.conftest import double, http_bench
from tests.upstream import upstream_url

__all__ = ["clickhouse", "double", "http_bench", "upstream_url"]
