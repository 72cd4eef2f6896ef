"""The portal's and billing's settings, parsed and checked once from the environment.

`.env` in the project and `env` in the data directory (written by `make up`) are read first; the
process environment wins. A half-set production is refused with a sentence that says what to set.
"""

import os
from pathlib import Path
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator
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


class Env(BaseSettings):
    """Every variable the control plane reads; `docs/settings.md` lists them for users."""

    model_config = SettingsConfigDict(extra="ignore", case_sensitive=True, populate_by_name=True)

    mode: Mode = Field(Mode.EMBEDDED, alias="TOLLWAY_MODE")
    data_dir: Path = Field(BASE_DIR / "data", alias="TOLLWAY_DATA_DIR")
    secret_key: str = Field("", alias="TOLLWAY_SECRET_KEY")
    gateway_token: str = Field("", alias="TOLLWAY_GATEWAY_TOKEN")
    clock: ClockMode = Field(ClockMode.REAL, alias="TOLLWAY_CLOCK")
    portal_url: str = Field("http://127.0.0.1:8000", alias="TOLLWAY_PORTAL_URL")
    gateway_url: str = Field("http://127.0.0.1:8080", alias="TOLLWAY_GATEWAY_URL")
    allowed_hosts: Annotated[list[str], NoDecode, BeforeValidator(_split)] = Field(
        default_factory=lambda: ["127.0.0.1", "localhost", "[::1]"], alias="TOLLWAY_ALLOWED_HOSTS"
    )
    database_url: str = Field("", alias="DATABASE_URL")
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
    dunning_days: Annotated[list[int], NoDecode, BeforeValidator(_split)] = Field(
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
        }
        missing = [name for name, value in required.items() if not value]
        if missing:
            msg = f"TOLLWAY_MODE=production needs {', '.join(missing)} (or the same with _FILE)."
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
