"""The gateway's settings, parsed and checked once from the environment.

`env` in the data directory (written by `make up`) is read first; the process environment wins.
Each problem is one sentence that says what to set.
"""

import os
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from gateway.contracts.environment import (
    Durability,
    Mode,
    SettingsError,
    layered_environment,
    sentences,
    set_values,
)

BASE_DIR = Path(__file__).resolve().parents[1]


def _split(value: object) -> object:
    return [v.strip() for v in value.split(",") if v.strip()] if isinstance(value, str) else value


Names = Annotated[list[str], NoDecode, BeforeValidator(_split)]


class GatewaySettings(BaseSettings):
    """Every variable the data plane reads; `docs/settings.md` lists them for users."""

    model_config = SettingsConfigDict(extra="ignore", case_sensitive=True, populate_by_name=True)

    mode: Mode = Field(Mode.EMBEDDED, alias="TOLLWAY_MODE")
    data_dir: Path = Field(BASE_DIR / "data", alias="TOLLWAY_DATA_DIR")
    gateway_token: str = Field("", alias="TOLLWAY_GATEWAY_TOKEN")
    portal_url: str = Field("http://127.0.0.1:8000", alias="TOLLWAY_PORTAL_URL")
    host: str = Field("127.0.0.1", alias="TOLLWAY_GATEWAY_HOST")
    port: int = Field(8080, alias="TOLLWAY_GATEWAY_PORT", ge=0, le=65_535)
    private_host: str = Field("127.0.0.1", alias="TOLLWAY_GATEWAY_PRIVATE_HOST")
    private_port: int = Field(8081, alias="TOLLWAY_GATEWAY_PRIVATE_PORT", ge=0, le=65_000)
    workers: int = Field(1, alias="TOLLWAY_GATEWAY_WORKERS", ge=1, le=256)
    node_id: str = Field("", alias="TOLLWAY_NODE_ID", pattern=r"^[A-Za-z0-9-]{0,64}$")
    redis_url: str = Field("", alias="REDIS_URL")
    kafka_bootstrap_servers: str = Field("", alias="KAFKA_BOOTSTRAP_SERVERS")
    spool_durability: Durability = Field(Durability.PROCESS, alias="TOLLWAY_SPOOL_DURABILITY")
    spool_max_bytes: int = Field(10 * 1024**3, alias="TOLLWAY_SPOOL_MAX_BYTES", ge=64 * 1024**2)
    trusted_proxies: Names = Field(default_factory=list, alias="TOLLWAY_TRUSTED_PROXIES")
    usage_path: str = Field("/me/usage", alias="TOLLWAY_USAGE_PATH", pattern=r"^/[A-Za-z0-9/_-]+$")
    docs_url: str = Field("", alias="TOLLWAY_ERRORS_URL")
    realm: str = Field("tollway", alias="TOLLWAY_REALM", pattern=r"^[A-Za-z0-9 ._-]{1,64}$")
    show_limits: bool = Field(default=True, alias="TOLLWAY_SHOW_LIMIT_HEADERS")
    hidden_response_headers: Names = Field(
        default_factory=list, alias="TOLLWAY_HIDE_RESPONSE_HEADERS"
    )
    head_timeout_s: float = Field(10.0, alias="TOLLWAY_HEAD_TIMEOUT_S", gt=0)
    body_idle_timeout_s: float = Field(30.0, alias="TOLLWAY_BODY_IDLE_TIMEOUT_S", gt=0)
    write_stall_timeout_s: float = Field(30.0, alias="TOLLWAY_WRITE_STALL_TIMEOUT_S", gt=0)
    keepalive_s: float = Field(75.0, alias="TOLLWAY_KEEPALIVE_S", gt=0)
    connection_lifetime_s: float = Field(3600.0, alias="TOLLWAY_CONNECTION_LIFETIME_S", gt=0)
    max_connections: int = Field(20_000, alias="TOLLWAY_MAX_CONNECTIONS", ge=1)
    max_connections_per_address: int = Field(
        2_000, alias="TOLLWAY_MAX_CONNECTIONS_PER_ADDRESS", ge=0
    )
    stop_grace_s: float = Field(25.0, alias="TOLLWAY_STOP_GRACE_S", ge=0)

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource,
        *_: PydanticBaseSettingsSource, **__: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:  # fmt: skip
        """Take only what `load` hands over; it has read the environment already."""
        return (init_settings,)

    @property
    def errors_url(self) -> str:
        """The page of all error codes; a code is its fragment."""
        return self.docs_url or f"{self.portal_url.rstrip('/')}/docs/errors"

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: list[str]) -> list[str]:
        for text in value:
            try:
                ip_network(text, strict=False)
            except ValueError as error:
                msg = f"TOLLWAY_TRUSTED_PROXIES takes addresses and CIDR ranges, not {text!r}."
                raise ValueError(msg) from error
        return value

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        problems = []
        if self.workers > 1 and not self.redis_url:
            problems.append(
                "TOLLWAY_GATEWAY_WORKERS above 1 needs REDIS_URL, because workers share counters."
            )
        if self.kafka_bootstrap_servers and not self.redis_url:
            problems.append("KAFKA_BOOTSTRAP_SERVERS needs REDIS_URL: set it, or unset Kafka.")
        if self.mode is Mode.PRODUCTION:
            problems += [
                f"TOLLWAY_MODE=production needs {name} (or {name}_FILE)."
                for name, value in (
                    ("TOLLWAY_GATEWAY_TOKEN", self.gateway_token),
                    ("REDIS_URL", self.redis_url),
                    ("KAFKA_BOOTSTRAP_SERVERS", self.kafka_bootstrap_servers),
                )
                if not value
            ]
        elif not self.gateway_token:
            problems.append(
                "Set TOLLWAY_GATEWAY_TOKEN to the token that the portal has (make up writes it)."
            )
        if problems:
            raise ValueError(" ".join(problems))
        return self


def _read(path: str) -> str:
    return Path(path).read_text()


def load(environ: dict[str, str] | None = None) -> GatewaySettings:
    """Read and check the environment once; `environ` replaces every source, for tests.

    :raises SettingsError: with one sentence per problem.
    """
    if environ is None:
        values = layered_environment(os.environ, project_dir=str(BASE_DIR), read=_read)
    else:
        values = set_values(environ, read=_read)
    try:
        return GatewaySettings.model_validate(values)
    except ValueError as error:
        raise SettingsError(sentences(error)) from error
