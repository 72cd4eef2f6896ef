"""Rules for the whole suite: unit and contract tests open no socket, drawn cases are the same in
every run."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from django.db.backends.sqlite3.operations import DatabaseOperations
from hypothesis import settings
from pytest_socket import disable_socket, enable_socket

pytest_plugins = ["tests.servers"]

# Hypothesis' own profile: seeded by each test's name, no bound in milliseconds on an example, no
# stored failures. `pytest --hypothesis-profile default` searches at random.
settings.load_profile("ci")

_QUIET = {"unit", "contract", "golden", "lint"}


@pytest.fixture(autouse=True)
def _sockets(request: pytest.FixtureRequest) -> None:
    """Unit, contract, golden and lint tests may use unix sockets only (the event loop does)."""
    folder = Path(str(request.path)).relative_to(Path(__file__).parent).parts[0]
    if folder in _QUIET:
        disable_socket(allow_unix_socket=True)
    else:
        enable_socket()


@pytest.fixture(scope="session", autouse=True)
def _flush_past_triggers() -> Iterator[None]:
    """Let tests that commit empty SQLite's tables although triggers keep some rows for good."""
    original = DatabaseOperations.execute_sql_flush

    def flush(self: DatabaseOperations, sql_list: Sequence[str]) -> Any:
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
            triggers = cursor.fetchall()
            for name, _ in triggers:
                cursor.execute(f"DROP TRIGGER {name}")
            original(self, sql_list)
            for _, sql in triggers:
                cursor.execute(sql)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DatabaseOperations, "execute_sql_flush", flush)
        yield
