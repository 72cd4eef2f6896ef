"""Settings of the metering processes, from the environment, one typed value per process.

Read once at start. Every problem is one sentence that says what to set. Names are those of
`docs/settings.md`; each also works as `…_FILE`.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

from gateway.contracts.environment import Mode, SettingsError, expand_files

WRITER: Final = "tollway"
READER: Final = "tollway_reader"
_PASSWORD_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class EmbeddedSettings:
    """The embedded ClickHouse endpoint: two users with generated passwords."""

    data_dir: Path
    writer_password: str = field(repr=False)
    reader_password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SinkSettings:
    """The sink. Without Kafka it reads the spool directly.

    metrics_port   0 = none
    metrics_host   where that port listens; loopback unless set
    """

    clickhouse_url: str = field(repr=False)
    spool_dir: Path
    checkpoint_path: Path
    kafka_servers: str
    kafka_group: str
    metrics_port: int
    metrics_host: str = "127.0.0.1"


def read_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Expand `…_FILE`.

    :raises SettingsError: when one cannot be read.
    """
    return expand_files(environ, read=lambda path: Path(path).read_text())


def _mode(environ: Mapping[str, str]) -> Mode:
    text = environ.get("TOLLWAY_MODE") or Mode.EMBEDDED
    try:
        return Mode(text)
    except ValueError as error:
        msg = f"TOLLWAY_MODE is {text!r}; set it to embedded, stack or production."
        raise SettingsError(msg) from error


def _data_dir(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("TOLLWAY_DATA_DIR") or "data")


def _port(environ: Mapping[str, str], name: str) -> int:
    text = environ.get(name) or "0"
    if not text.isdecimal() or int(text) > 65535:
        msg = f"{name} is {text!r}; set it to a port number, or leave it empty."
        raise SettingsError(msg)
    return int(text)


def check_clickhouse_url(url: str) -> str:
    """Return the URL when it is usable.

    :raises SettingsError: unless it is `http(s)://user:password@host:port/database`.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise SettingsError(
            "CLICKHOUSE_URL must look like http://user:password@host:8123/tollway."
        )
    return url


def clickhouse_url(environ: Mapping[str, str]) -> str:
    """Return the writer's URL; embedded it is the endpoint on loopback with its stored password.

    :raises SettingsError: when nothing says where ClickHouse is.
    """
    if url := environ.get("CLICKHOUSE_URL"):
        return check_clickhouse_url(url)
    if _mode(environ) is Mode.PRODUCTION:
        raise SettingsError(
            "Set CLICKHOUSE_URL to the ClickHouse server; production has no default."
        )
    password = environ.get("CLICKHOUSE_PASSWORD") or _stored_secret(environ, WRITER)
    port = environ.get("CLICKHOUSE_PORT") or "8123"
    return f"http://{WRITER}:{quote(password, safe='')}@127.0.0.1:{port}/tollway"


def read_sink_settings(environ: Mapping[str, str]) -> SinkSettings:
    """Read the sink's settings from an expanded environment.

    :raises SettingsError: with what to set.
    """
    kafka = environ.get("KAFKA_BOOTSTRAP_SERVERS", "")
    if _mode(environ) is Mode.PRODUCTION and not kafka:
        raise SettingsError("Set KAFKA_BOOTSTRAP_SERVERS; production ships events through Kafka.")
    data_dir = _data_dir(environ)
    return SinkSettings(
        clickhouse_url=clickhouse_url(environ),
        spool_dir=data_dir / "spool",
        checkpoint_path=data_dir / "sink" / "checkpoint.json",
        kafka_servers=kafka,
        kafka_group=environ.get("TOLLWAY_SINK_GROUP") or "tollway.sink",
        metrics_port=_port(environ, "TOLLWAY_SINK_METRICS_PORT"),
        metrics_host=environ.get("TOLLWAY_SINK_METRICS_HOST") or "127.0.0.1",
    )


def read_embedded_settings(environ: Mapping[str, str]) -> EmbeddedSettings:
    """Read the endpoint's settings; passwords that nobody set are made once and kept (0600).

    :raises SettingsError: in production, where a real server is expected.
    """
    if _mode(environ) is Mode.PRODUCTION:
        raise SettingsError(
            "TOLLWAY_MODE=production expects a ClickHouse server: set CLICKHOUSE_URL to it."
        )
    return EmbeddedSettings(
        data_dir=_data_dir(environ) / "clickhouse",
        writer_password=environ.get("CLICKHOUSE_PASSWORD") or _stored_secret(environ, WRITER),
        reader_password=environ.get("CLICKHOUSE_READER_PASSWORD")
        or _stored_secret(environ, READER),
    )


def _stored_secret(environ: Mapping[str, str], user: str) -> str:
    """Return the password in `secrets/clickhouse_<user>`, made there first when absent."""
    path = _data_dir(environ) / "secrets" / f"clickhouse_{user}"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_urlsafe(_PASSWORD_BYTES))
        try:
            path.hardlink_to(draft)  # whoever is first wins; the other reads the winner's
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text().strip()
