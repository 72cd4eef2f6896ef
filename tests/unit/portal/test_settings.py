"""Settings of the portal: a half-set or careless production is refused in one sentence."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.contracts.environment import SettingsError
from portal.settings.env import load
from portal.settings.mail import email_settings

PRODUCTION = {
    "TOLLWAY_MODE": "production",
    "TOLLWAY_SECRET_KEY": "s" * 50,
    "TOLLWAY_GATEWAY_TOKEN": "tw_gw_token",
    "TOLLWAY_PORTAL_URL": "https://portal.example",
    "TOLLWAY_GATEWAY_URL": "https://api.example",
    "TOLLWAY_ALLOWED_HOSTS": "portal.example",
    "DATABASE_URL": "postgres://tollway:p@db:5432/tollway",
    "REDIS_URL": "redis://redis:6379/0",
    "KAFKA_BOOTSTRAP_SERVERS": "kafka:9092",
    "CLICKHOUSE_URL": "http://reader:p@clickhouse:8123/tollway",
    "STRIPE_SECRET_KEY": "sk_live_key",
    "STRIPE_WEBHOOK_SECRETS": "whsec_one",
    "EMAIL_URL": "smtp://u:p@mail.example:587",
}


@pytest.mark.parametrize("name", sorted(set(PRODUCTION) - {"TOLLWAY_MODE"}))
def test_each_variable_of_production_is_missed_by_name(name: str) -> None:
    assert load(PRODUCTION).portal_url == "https://portal.example"
    for left in ({}, {name: ""}):
        environ = {k: v for k, v in PRODUCTION.items() if k != name} | left
        with pytest.raises(SettingsError, match=rf"needs {name} \(or the same with _FILE\)"):
            load(environ)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("TOLLWAY_SECRET_KEY", "secret", "at least 32"),
        ("TOLLWAY_ALLOWED_HOSTS", "portal.example,*", "must name hosts"),
        ("TOLLWAY_CLOCK", "simulated", "live Stripe key"),
        ("STRIPE_API_BASE", "http://127.0.0.1:9100", "STRIPE_API_BASE"),
        ("TOLLWAY_PORTAL_URL", "portal.example", "TOLLWAY_PORTAL_URL: must look like"),
        ("TOLLWAY_PORTAL_URL", "https://portal.example/app", "must look like"),
        ("TOLLWAY_PORTAL_URL", "https://portal.example:99999", "TOLLWAY_PORTAL_URL"),
        ("TOLLWAY_GATEWAY_URL", "https://u:p@api.example", "TOLLWAY_GATEWAY_URL: must look like"),
        ("DATABASE_URL", "tollway", "DATABASE_URL: must look like"),
        ("DATABASE_URL", "postgres://h:port/x", "DATABASE_URL: must look like"),
        ("TOLLWAY_DUNNING_DAYS", "3,-5", "TOLLWAY_DUNNING_DAYS"),
        ("TOLLWAY_GRACE_S", "-1", "TOLLWAY_GRACE_S"),
        ("TOLLWAY_MODE", "prod", "TOLLWAY_MODE"),
    ],
)
def test_careless_values_are_refused(name: str, value: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        load({**PRODUCTION, name: value})


def test_the_last_slash_of_an_address_is_not_kept() -> None:
    assert load({"TOLLWAY_PORTAL_URL": "https://portal.example/"}).portal_url == (
        "https://portal.example"
    )


@pytest.mark.parametrize("url", ["ftp://h", "smtp://", "smtp://h:99999", "smtp://h:x"])
def test_mail_servers_that_are_none(url: str) -> None:
    with pytest.raises(SettingsError, match="EMAIL_URL must look like"):
        email_settings(url)


@pytest.mark.parametrize("module", ["portal.asgi", "portal.wsgi"])
def test_nobody_is_served_with_the_secret_that_everybody_knows(
    module: str, tmp_path: Path
) -> None:
    """Commands go without a secret; a server would sign password resets with a public one."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("TOLLWAY_")}
    environ |= {
        "TOLLWAY_DATA_DIR": str(tmp_path),
        "DJANGO_SETTINGS_MODULE": "portal.settings.local",
    }
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-W", "ignore", "-c", f"import {module}"],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "Set TOLLWAY_SECRET_KEY" in done.stderr.splitlines()[-1]
