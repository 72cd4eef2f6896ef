"""One installation on this machine: its directory, secrets, ports and environment.

Used by `make up`, `make stack`, the demo and the tests that start the whole product.
"""

import os
import secrets
import socket
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[1]
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the processes listen; each can be moved by `TOLLWAY_<NAME>_PORT`."""

    portal: int = 8000
    gateway: int = 8080
    private: int = 8081
    clickhouse: int = 8123
    upstream: int = 9000
    stripe: int = 9100

    @classmethod
    def from_environment(cls) -> "Ports":
        given = {
            name: int(value)
            for name in cls.__slots__
            if (value := os.environ.get(f"TOLLWAY_{name.upper()}_PORT"))
        }
        return cls(**given)

    @classmethod
    def free(cls) -> "Ports":
        """Pick ports nobody listens on at the moment."""
        held = [socket.socket() for _ in cls.__slots__]
        for sock in held:
            sock.bind((LOOPBACK, 0))
        numbers = [int(sock.getsockname()[1]) for sock in held]
        for sock in held:
            sock.close()
        return cls(**dict(zip(cls.__slots__, numbers, strict=True)))


@dataclass(frozen=True, slots=True)
class Outside:
    """URLs of the real servers of the stack; empty in embedded mode."""

    database_url: str = ""
    redis_url: str = ""
    kafka: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """A data directory with secrets, and the environment its processes get."""

    mode: str
    data: Path
    ports: Ports
    outside: Outside = field(default_factory=Outside)
    workers: int = 1

    @property
    def portal_url(self) -> str:
        return f"http://{LOOPBACK}:{self.ports.portal}"

    @property
    def gateway_url(self) -> str:
        return f"http://{LOOPBACK}:{self.ports.gateway}"

    @property
    def stripe_url(self) -> str:
        return f"http://{LOOPBACK}:{self.ports.stripe}"

    def secret_path(self, name: str) -> Path:
        return self.data / "secrets" / name

    def secret(self, name: str) -> str:
        return self.secret_path(name).read_text().strip()

    def prepare(self) -> None:
        """Make the directories, and every secret that does not exist yet (0600, once)."""
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("secrets", "logs", "mail", "gateway", "spool", "celery/queue", "stripe"):
            (self.data / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.data / "celery" / "control").mkdir(mode=0o700, exist_ok=True)
        for name, prefix in (
            ("secret_key", ""),
            ("gateway_token", "tw_gw_"),
            ("clickhouse_password", ""),
            ("clickhouse_readonly_password", ""),
            ("stripe_secret_key", "sk_test_"),
            ("stripe_webhook_secret", "whsec_"),
            ("demo_password", "demo-"),
        ):
            self._write_once(name, prefix + secrets.token_urlsafe(9 if "demo" in name else 32))
        host = f"{LOOPBACK}:{self.ports.clickhouse}"
        for name, user, password in (
            ("clickhouse_url", "tollway", "clickhouse_password"),
            ("clickhouse_readonly_url", "tollway_reader", "clickhouse_readonly_password"),
        ):
            url = f"http://{user}:{self.secret(password)}@{host}/tollway"
            secret_write(self.secret_path(name), url)

    def _write_once(self, name: str, value: str) -> None:
        if not self.secret_path(name).exists():
            secret_write(self.secret_path(name), value)

    def common(self) -> dict[str, str]:
        """Settings that every process gets."""
        values = {
            "TOLLWAY_MODE": self.mode,
            "TOLLWAY_DATA_DIR": str(self.data),
            "TOLLWAY_CLOCK": "simulated",
            "TOLLWAY_PORTAL_URL": self.portal_url,
            "TOLLWAY_GATEWAY_URL": self.gateway_url,
            "TOLLWAY_GATEWAY_TOKEN_FILE": str(self.secret_path("gateway_token")),
            "DJANGO_SETTINGS_MODULE": "portal.settings.local",
            "PYTHONUNBUFFERED": "1",
        }
        if self.outside.redis_url:
            values["REDIS_URL"] = self.outside.redis_url
        if self.outside.kafka:
            values["KAFKA_BOOTSTRAP_SERVERS"] = self.outside.kafka
        return values

    def control_plane(self) -> dict[str, str]:
        """Settings of portal, worker, beat and management commands."""
        values = {
            **self.common(),
            "TOLLWAY_SECRET_KEY_FILE": str(self.secret_path("secret_key")),
            "TOLLWAY_GRACE_S": "0",
            "CLICKHOUSE_URL_FILE": str(self.secret_path("clickhouse_readonly_url")),
            "STRIPE_API_BASE": self.stripe_url,
            "STRIPE_SECRET_KEY_FILE": str(self.secret_path("stripe_secret_key")),
            "STRIPE_WEBHOOK_SECRETS_FILE": str(self.secret_path("stripe_webhook_secret")),
        }
        if self.outside.database_url:
            values["DATABASE_URL"] = self.outside.database_url
        return values

    def data_plane(self) -> dict[str, str]:
        """Settings of gateway and shipper."""
        return {
            **self.common(),
            "TOLLWAY_GATEWAY_HOST": LOOPBACK,
            "TOLLWAY_GATEWAY_PORT": str(self.ports.gateway),
            "TOLLWAY_GATEWAY_PRIVATE_PORT": str(self.ports.private),
            "TOLLWAY_GATEWAY_WORKERS": str(self.workers),
        }

    def metering(self) -> dict[str, str]:
        """Settings of sink and ClickHouse endpoint."""
        return {
            **self.common(),
            "CLICKHOUSE_URL_FILE": str(self.secret_path("clickhouse_url")),
            "CLICKHOUSE_PASSWORD_FILE": str(self.secret_path("clickhouse_password")),
            "CLICKHOUSE_READER_PASSWORD_FILE": str(
                self.secret_path("clickhouse_readonly_password")
            ),
        }

    def write_env(self) -> None:
        """Leave the control plane's settings where `manage.py` finds them."""
        lines = [f"{name}={value}" for name, value in self.control_plane().items()]
        path = self.data / "env"
        path.write_text("\n".join(lines) + "\n")
        path.chmod(0o600)


def secret_write(path: Path, value: str) -> None:
    """Write a file that only its owner can read, in place of what was there."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(value)


def port_of(url: str) -> int:
    """Return the port of a loopback URL.

    :raises ValueError: when the URL names none.
    """
    port = urlsplit(url).port
    if port is None:
        msg = f"{url} names no port."
        raise ValueError(msg)
    return port
