"""The real servers come up, answer their clients and go away by pid."""

import os
import tempfile
from pathlib import Path

import psycopg
import pytest
import redis
from kafka import KafkaAdminClient

from deploy.servers import (
    ServerProcess,
    ServerUnavailableError,
    start_postgres,
    start_redis,
)
from tests.servers import start_or_skip


def test_postgres_answers(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        row = connection.execute("select 1 + 1").fetchone()
    assert row == (2,)


def test_redis_answers(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.set("servers", "up")
        assert client.get("servers") == b"up"


@pytest.mark.timeout(120)
def test_kafka_answers(kafka: str) -> None:
    client = KafkaAdminClient(bootstrap_servers=kafka)
    try:
        assert isinstance(client.list_topics(), list)
    finally:
        client.close()


def test_a_stopped_redis_is_gone_and_its_data_comes_back(tmp_path: Path) -> None:
    server = start_or_skip("redis", start_redis, tmp_path)
    with redis.Redis.from_url(server.url) as client:
        client.set("kept", "1")
    pid = server.pid
    server.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    server.start()
    try:
        with redis.Redis.from_url(server.url) as client:
            assert client.get("kept") == b"1"
    finally:
        server.stop()


def test_a_stopped_postgres_is_gone() -> None:
    # Not under pytest's own folder: root's PostgreSQL runs as another user, who may not enter it.
    with tempfile.TemporaryDirectory(prefix="tollway-") as folder:
        server = start_or_skip("postgres", start_postgres, Path(folder) / "pg")
        server.stop()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(server.url)


def test_a_server_that_exits_says_why(tmp_path: Path) -> None:
    def never() -> None:
        raise ConnectionError("refused")

    command = ["sh", "-c", "echo no such luck; exit 3"]
    server = ServerProcess(url="", command=command, log=tmp_path / "log", ready=never)
    with pytest.raises(ServerUnavailableError, match="no such luck"):
        server.start()


def test_a_missing_server_is_a_failure_under_ci(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(_: Path) -> ServerProcess:
        raise ServerUnavailableError("not here")

    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="thing is not available: not here"):
        start_or_skip("thing", missing, tmp_path)
    monkeypatch.setenv("CI", "")
    with pytest.raises(pytest.skip.Exception, match="thing is not available: not here"):
        start_or_skip("thing", missing, tmp_path)
