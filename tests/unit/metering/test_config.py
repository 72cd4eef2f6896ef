"""Settings of the metering processes: defaults, secrets made once, and a sentence per problem."""

from pathlib import Path

import pytest

from gateway.contracts.environment import SettingsError
from metering.__main__ import main
from metering.config import (
    clickhouse_url,
    read_embedded_settings,
    read_environment,
    read_sink_settings,
)


def test_embedded_needs_nothing_and_keeps_its_passwords(tmp_path: Path) -> None:
    environ = {"TOLLWAY_DATA_DIR": str(tmp_path)}
    first = read_embedded_settings(environ)
    assert read_embedded_settings(environ) == first
    assert len({first.writer_password, first.reader_password}) == 2
    secret = tmp_path / "secrets" / "clickhouse_tollway"
    assert secret.stat().st_mode & 0o777 == 0o600
    assert first.writer_password in clickhouse_url(environ)
    assert first.writer_password not in repr(first)


def test_the_sink_reads_the_spool_unless_kafka_is_set(tmp_path: Path) -> None:
    environ = {"TOLLWAY_DATA_DIR": str(tmp_path), "CLICKHOUSE_URL": "http://u:p@h:1/d"}
    settings = read_sink_settings(environ)
    assert (settings.kafka_servers, settings.spool_dir) == ("", tmp_path / "spool")
    assert read_sink_settings({**environ, "KAFKA_BOOTSTRAP_SERVERS": "k:9092"}).kafka_servers


def test_a_setting_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("http://u:p@h:1/d\n")
    values = read_environment({"CLICKHOUSE_URL_FILE": str(tmp_path / "url")})
    assert clickhouse_url(values) == "http://u:p@h:1/d"


@pytest.mark.parametrize(
    ("case", "environ", "names"),
    [
        ("mode", {"TOLLWAY_MODE": "cloud"}, "TOLLWAY_MODE"),
        ("url", {"CLICKHOUSE_URL": "h:8123"}, "CLICKHOUSE_URL"),
        ("production url", {"TOLLWAY_MODE": "production", "KAFKA_BOOTSTRAP_SERVERS": "k:1"},
         "CLICKHOUSE_URL"),
        ("production kafka", {"TOLLWAY_MODE": "production", "CLICKHOUSE_URL": "http://h/d"},
         "KAFKA_BOOTSTRAP_SERVERS"),
        ("port", {"CLICKHOUSE_URL": "http://h/d", "TOLLWAY_SINK_METRICS_PORT": "x"},
         "TOLLWAY_SINK_METRICS_PORT"),
        ("missing file", {"CLICKHOUSE_URL_FILE": "/nowhere"}, "CLICKHOUSE_URL_FILE"),
    ],
)  # fmt: skip
def test_a_problem_is_a_sentence_and_a_failed_start(
    case: str, environ: dict[str, str], names: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sink"], environ) == 2
    assert names in capsys.readouterr().err


def test_production_expects_a_real_server() -> None:
    with pytest.raises(SettingsError, match="CLICKHOUSE_URL"):
        read_embedded_settings({"TOLLWAY_MODE": "production"})
