"""A process that is started again at once whenever it ends, as a supervisor does it."""

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import psutil

from tests.gateway_process import ROOT

_TOO_SHORT_S: Final = 1.0
_PAUSE_S: Final = 0.3
_STOP_WITHIN_S: Final = 60


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Leave out what the test's own settings have put into this process's environment."""
    kept = ("PATH", "HOME", "LANG", "VIRTUAL_ENV")
    return {**{name: os.environ[name] for name in kept if name in os.environ}, **environment}


class Supervised:
    """One process of the installation. `ends` are the exit codes of all that ended by themselves,
    or by a signal, and were started again.
    """

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], *, log: Path
    ) -> None:
        self.name = name
        self.ends: list[int] = []
        self._command = list(command)
        self._environment = clean_environment(environment)
        self._log = log
        log.touch()
        self._lock = threading.Lock()
        self._stopping = True
        self._process: subprocess.Popen[bytes]
        self._watcher: threading.Thread

    def start(self) -> None:
        self._stopping = False
        self._spawn()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def _spawn(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own modules
                self._command, cwd=ROOT, env=self._environment, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log,
            )  # fmt: skip

    def _watch(self) -> None:
        while True:
            started_s = time.monotonic()
            code = self._process.wait()
            if code > 0 and time.monotonic() - started_s < _TOO_SHORT_S:
                time.sleep(_PAUSE_S)
            with self._lock:
                if self._stopping:
                    return
                self.ends.append(code)
                self._spawn()

    def kill(self) -> None:
        """Let it die on the spot; it is started again at once."""
        with self._lock:
            self._process.kill()

    def kill_child(self, index: int) -> bool:
        """Kill one of the processes that it has started; False when there is no such one."""
        try:
            children = psutil.Process(self._process.pid).children()
            children[index % len(children)].kill()
        except (psutil.NoSuchProcess, ZeroDivisionError):
            return False  # it dies or starts right now
        return True

    def stop(self) -> int:
        """Ask it to stop in order; return its exit code."""
        with self._lock:
            self._stopping = True
            self._process.terminate()
        try:
            code = self._process.wait(_STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._watcher.join()
        return code

    def close(self) -> None:
        """End it, however it stands."""
        if not self._stopping:
            self.stop()

    @property
    def tail(self) -> str:
        """The end of its log, for a failing test."""
        return f"--- {self.name}\n{self._log.read_text(errors='replace')[-3000:]}"
