"""A real ClickHouse engine for tests: the embedded endpoint as a process of its own.

`start_embedded` for tests that kill it, the fixture `clickhouse` for one shared by a module (with
the schema in it). Data lies in the folder given; the process is stopped by pid.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from metering.clickhouse import ClickHouse
from metering.migrate import migrate

ROOT = Path(__file__).resolve().parents[1]
WRITER_PASSWORD = "writer-password"
READER_PASSWORD = "reader:p@ss/word"


@dataclass(frozen=True)
class Embedded:
    """A running endpoint; both URLs go to the database `tollway`."""

    url_writer: str
    url_readonly: str
    process: subprocess.Popen[str]
    port: int

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def start_embedded(data_dir: Path, *, port: int = 0) -> Embedded:
    """Start the endpoint over `data_dir` and wait until it listens."""
    environ = {
        **os.environ,
        "CLICKHOUSE_PASSWORD": WRITER_PASSWORD,
        "CLICKHOUSE_READER_PASSWORD": READER_PASSWORD,
    }
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "metering", "embedded", "--port", str(port), "--data", data_dir],
        stdout=subprocess.PIPE,
        text=True,
        env=environ,
        cwd=ROOT,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("listening on "), line
    taken = int(line.rsplit(":", 1)[1])
    return Embedded(
        f"http://tollway:{WRITER_PASSWORD}@127.0.0.1:{taken}/tollway",
        f"http://tollway_reader:reader%3Ap%40ss%2Fword@127.0.0.1:{taken}/tollway",
        process,
        taken,
    )


@contextlib.contextmanager
def embedded_with_schema() -> Iterator[Embedded]:
    """Run an endpoint with the schema applied, in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="tollway-") as folder:
        server = start_embedded(Path(folder) / "clickhouse")
        try:
            client = ClickHouse(server.url_writer)
            migrate(client)
            client.close()
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="module")
def clickhouse() -> Iterator[Embedded]:
    """A running endpoint with the schema, shared by the tests of a module."""
    with embedded_with_schema() as server:
        yield server


@pytest.fixture(scope="module")
def clickhouse_url(clickhouse: Embedded) -> str:
    """The writer's URL of `clickhouse`."""
    return clickhouse.url_writer
