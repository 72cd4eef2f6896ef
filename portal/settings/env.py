"""The portal's and billing's settings, parsed and checked once from the environment.

`.env` in the project and `env` in the data directory (written by `make up`) are read first; the
process environment wins. A half-set production is refused with a sentence that says what to set.
"""

import os
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

import dj_database_url
from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from gateway.contracts.environment import (
    ClockMode,
    Mode,
    SettingsError,
    layered_environment,
    sentences,
    set_values,
)

BASE_DIR = Path(__file__).resolve().parents[2]


def _split(value: object) -> object:
    return [v.strip() for v in value.split(",") if v.strip()] if isinstance(value, str) else value


def _address(value: str) -> str:
    """Return a public address without its last slash.

    :raises ValueError: for anything but http(s)://host or http(s)://host:port.
    """
    parts = urlsplit(value)  # raises ValueError itself for a port that is none
    wrong = parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc
    if wrong or parts.port == 0 or parts.path not in {"", "/"} or parts.query or parts.fragment:
        msg = "must look like https://portal.example.com."
        raise ValueError(msg)
    return value.rstrip("/")


def _database(value: str) -> str:
    """Return a database's URL; empty is SQLite in the data directory.

    :raises ValueError: for one that names no database server and no file.
    """
    try:
        if value:
            dj_database_url.parse(value)
    except (ValueError, KeyError) as error:
        msg = "must look like postgres://user:password@host:5432/name or sqlite:///path."
        raise ValueError(msg) from error
    return value


Address = Annotated[str, AfterValidator(_address)]
MIN_SECRET_CHARS = 32


class Env(BaseSettings):
    """Every variable the control plane reads; `docs/settings.md` lists them for users."""

    model_config = SettingsConfigDict(extra="ignore", case_sensitive=True, populate_by_name=True)

    mode: Mode = Field(Mode.EMBEDDED, alias="TOLLWAY_MODE")
    data_dir: Path = Field(BASE_DIR / "data", alias="TOLLWAY_DATA_DIR")
    secret_key: str = Field("", alias="TOLLWAY_SECRET_KEY")
    gateway_token: str = Field("", alias="TOLLWAY_GATEWAY_TOKEN")
    clock: ClockMode = Field(ClockMode.REAL, alias="TOLLWAY_CLOCK")
    portal_url: Address = Field("http://127.0.0.1:8000", alias="TOLLWAY_PORTAL_URL")
    gateway_url: Address = Field("http://127.0.0.1:8080", alias="TOLLWAY_GATEWAY_URL")
    allowed_hosts: Annotated[list[str], NoDecode, BeforeValidator(_split)] = Field(
        default_factory=lambda: ["127.0.0.1", "localhost", "[::1]"], alias="TOLLWAY_ALLOWED_HOSTS"
    )
    database_url: Annotated[str, AfterValidator(_database)] = Field("", alias="DATABASE_URL")
    redis_url: str = Field("", alias="REDIS_URL")
    kafka_bootstrap_servers: str = Field("", alias="KAFKA_BOOTSTRAP_SERVERS")
    clickhouse_url: str = Field("", alias="CLICKHOUSE_URL")
    stripe_api_base: str = Field("", alias="STRIPE_API_BASE")
    stripe_secret_key: str = Field("", alias="STRIPE_SECRET_KEY")
    stripe_webhook_secrets: Annotated[list[str], NoDecode, BeforeValidator(_split)] = Field(
        default_factory=list, alias="STRIPE_WEBHOOK_SECRETS"
    )
    email_url: str = Field("", alias="EMAIL_URL")
    email_from: str = Field("Tollway <billing@tollway.example>", alias="EMAIL_FROM")
    grace_s: int = Field(3600, alias="TOLLWAY_GRACE_S", ge=0)
    seller_name: str = Field("Tollway", alias="TOLLWAY_SELLER_NAME")  # printed on invoices
    seller_address: str = Field("", alias="TOLLWAY_SELLER_ADDRESS")  # one row per line
    seller_tax_id: str = Field("", alias="TOLLWAY_SELLER_TAX_ID")
    dunning_days: Annotated[
        list[Annotated[int, Field(ge=1, le=365)]], NoDecode, BeforeValidator(_split)
    ] = Field(
        default_factory=lambda: [3, 5, 7], alias="TOLLWAY_DUNNING_DAYS"
    )  # days from a failed payment to the next attempt

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource,
        *_: PydanticBaseSettingsSource, **__: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:  # fmt: skip
        """Take only what `load` hands over; it has read the environment already."""
        return (init_settings,)

    @property
    def sandbox(self) -> bool:
        return self.clock is ClockMode.SIMULATED

    @property
    def effective_database_url(self) -> str:
        return self.database_url or f"sqlite:///{self.data_dir / 'portal.sqlite3'}"

    def check_serving(self) -> None:
        """Refuse to answer requests with the secret that everybody knows.

        :raises SettingsError: when none is set; commands that sign nothing go without.
        """
        if not self.secret_key:
            msg = "Set TOLLWAY_SECRET_KEY before the portal answers requests: it signs sessions."
            raise SettingsError(msg)

    @model_validator(mode="after")
    def _whole_production(self) -> Self:
        if self.mode is not Mode.PRODUCTION:
            return self
        required = {
            "TOLLWAY_SECRET_KEY": self.secret_key,
            "TOLLWAY_GATEWAY_TOKEN": self.gateway_token,
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.redis_url,
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka_bootstrap_servers,
            "CLICKHOUSE_URL": self.clickhouse_url,
            "STRIPE_SECRET_KEY": self.stripe_secret_key,
            "STRIPE_WEBHOOK_SECRETS": ",".join(self.stripe_webhook_secrets),
            "EMAIL_URL": self.email_url,
            # their defaults are for one machine: links in mail and cookies depend on them
            "TOLLWAY_PORTAL_URL": "portal_url" in self.model_fields_set,
            "TOLLWAY_GATEWAY_URL": "gateway_url" in self.model_fields_set,
            "TOLLWAY_ALLOWED_HOSTS": "allowed_hosts" in self.model_fields_set,
        }
        missing = [name for name, value in required.items() if not value]
        if missing:
            msg = f"TOLLWAY_MODE=production needs {', '.join(missing)} (or the same with _FILE)."
            raise ValueError(msg)
        if "*" in self.allowed_hosts:
            msg = (
                "TOLLWAY_ALLOWED_HOSTS must name hosts: mailed links carry the one that is asked."
            )
            raise ValueError(msg)
        if len(self.secret_key) < MIN_SECRET_CHARS:
            msg = f"TOLLWAY_SECRET_KEY must have at least {MIN_SECRET_CHARS} random characters."
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _no_live_money_in_a_sandbox(self) -> Self:
        live = self.stripe_secret_key.startswith(("sk_live_", "rk_live_"))
        if live and self.sandbox:
            msg = "A live Stripe key cannot be used with TOLLWAY_CLOCK=simulated: unset one."
            raise ValueError(msg)
        if live and self.stripe_api_base:
            msg = "A live Stripe key is only sent to Stripe itself: unset STRIPE_API_BASE."
            raise ValueError(msg)
        return self


def _read(path: str) -> str:
    return Path(path).read_text()


def load(environ: dict[str, str] | None = None) -> Env:
    """Read and check the environment once; `environ` replaces every source, for tests.

    :raises SettingsError: with one sentence per problem.
    """
    if environ is None:
        values = layered_environment(os.environ, project_dir=str(BASE_DIR), read=_read)
    else:
        values = set_values(environ, read=_read)
    try:
        return Env.model_validate(values)
    except ValueError as error:
        raise SettingsError(sentences(error)) from error
