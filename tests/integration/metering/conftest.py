"""A real ClickHouse engine and the demo upstream for every test here."""

from tests.clickhouse import clickhouse, clickhouse_url
from tests.upstream import upstream_url

__all__ = ["clickhouse", "clickhouse_url", "upstream_url"]
