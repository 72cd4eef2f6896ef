"""The sink as a real process: can be killed and started again."""

import os
import subprocess
import sys
from pathlib import Path

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
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "metering", "sink"], cwd=ROOT, env=self._environment,
                stdout=log, stderr=log,
            )  # fmt: skip

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.process.terminate()
        assert self.process.wait(15) == 0
