"""`python -m billing.payments.sandbox`: the double as a process of its own, on loopback.

State lives in `--data`, so a restart changes nothing. The API key and the webhook secret come
from `STRIPE_SECRET_KEY` and `STRIPE_WEBHOOK_SECRETS` (each also as `…_FILE`); a secret that nobody
gave is made once and kept beside the state, readable by its owner alone.
"""

import argparse
import os
import secrets
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

from aiohttp import web

from billing.payments.sandbox import delivery
from billing.payments.sandbox.double import Double
from billing.payments.sandbox.server import build_app
from billing.payments.sandbox.store import Store
from gateway.contracts.environment import SettingsError, expand_files

LIVE: Final = ("sk_live_", "rk_live_")


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m billing.payments.sandbox", description=__doc__
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9100)
    parser.add_argument("--data", type=Path, required=True, help="directory of the state")
    parser.add_argument("--public-url", default="", help="where a browser finds the hosted pages")
    parser.add_argument("--webhook-url", default="", help="where events are sent")
    parser.add_argument("--webhook-secret", default="", help="what they are signed with")
    return parser.parse_args(argv)


def kept_secret(path: Path, prefix: str) -> str:
    """Return the secret in a file, made with mode 0600 when it is not there."""
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(prefix + secrets.token_urlsafe(24))
    return path.read_text().strip()


def build(arguments: argparse.Namespace, environ: dict[str, str]) -> Double:
    """Open the store and put its settings right.

    :raises SettingsError: for a live key, or a `…_FILE` that cannot be read.
    """
    values = expand_files(environ, read=lambda path: Path(path).read_text())
    data: Path = arguments.data
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = values.get("STRIPE_SECRET_KEY") or kept_secret(data.joinpath("secret_key"), "sk_test_")
    if key.startswith(LIVE):
        msg = "STRIPE_SECRET_KEY is a live key: the double takes test keys alone."
        raise SettingsError(msg)
    given = arguments.webhook_secret or values.get("STRIPE_WEBHOOK_SECRETS", "").split(",")[0]
    secret = given.strip() or kept_secret(data.joinpath("webhook_secret"), "whsec_")
    store = Store(path=data.joinpath("double.sqlite3"))
    with store.transaction():
        held = delivery.settings_of(store)
        delivery.settings_save(
            store, replace(held, url=arguments.webhook_url or held.url, secret=secret)
        )
    url = arguments.public_url or f"http://{arguments.host}:{arguments.port}"
    return Double(store, secret_key=key, public_url=url.rstrip("/"))


def main() -> None:
    arguments = _arguments(sys.argv[1:])
    try:
        double = build(arguments, dict(os.environ))
    except SettingsError as error:
        sys.exit(str(error))
    web.run_app(
        build_app(double),
        host=arguments.host,
        port=arguments.port,
        access_log=None,
        shutdown_timeout=2,
        print=None,
    )
    double.store.close()


if __name__ == "__main__":
    main()
