"""The sink as a real process: can be killed and started again."""

import os
import subprocess
import sys
from pathlib import Path

from tests.waiting import eventually_sync

ROOT = Path(__file__).resolve().parents[1]


class SinkProcess:
    """The sink of one data directory; reads Kafka instead where `environment` names it."""

    def __init__(self, data: Path, url: str, **environment: str) -> None:
        self._environment = {
            **os.environ, "TOLLWAY_DATA_DIR": str(data), "CLICKHOUSE_URL": url,
            "TOLLWAY_MODE": "embedded", **environment,
        }  # fmt: skip
        self._log = data / "sink.log"

    def start(self) -> None:
        self._started = self._starts()
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "metering", "sink"], cwd=ROOT, env=self._environment,
                stdout=log, stderr=log,
            )  # fmt: skip

    def wait_until_it_takes_signals(self) -> None:
        eventually_sync(lambda: self._starts() > self._started, within_s=30)

    def _starts(self) -> int:
        return self._log.read_text().count(" started\n") if self._log.exists() else 0

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.process.terminate()
        assert self.process.wait(15) == 0
