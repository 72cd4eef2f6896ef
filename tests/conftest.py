"""Rules for the whole suite: unit and contract tests open no socket."""

from pathlib import Path

import pytest
from pytest_socket import disable_socket, enable_socket

pytest_plugins = ["tests.servers", "tests.clickhouse"]

_QUIET = {"unit", "contract", "golden", "lint"}


@pytest.fixture(autouse=True)
def _sockets(request: pytest.FixtureRequest) -> None:
    """Unit, contract, golden and lint tests may use unix sockets only (the event loop does)."""
    folder = Path(str(request.path)).relative_to(Path(__file__).parent).parts[0]
    if folder in _QUIET:
        disable_socket(allow_unix_socket=True)
    else:
        enable_socket()
