"""The embedded sink's write-ahead: one small file that names the ranges about to be inserted."""

import fcntl
import json
import os
from collections.abc import Iterable
from pathlib import Path

from metering.core.rows import Range, ranges_from_json, ranges_to_json


class SinkBusyError(RuntimeError):
    """Another sink works on this data directory."""


class Checkpoint:
    """Holds the pending ranges across a crash, and keeps a second sink out."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock_fd = os.open(path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock_fd)
            msg = f"{path.parent} is in use by another sink; stop that one first."
            raise SinkBusyError(msg) from error

    def read(self) -> tuple[Range, ...]:
        """Return what was pending; a file that is not there yet means nothing was."""
        if not self._path.exists():
            return ()
        return ranges_from_json(json.loads(self._path.read_bytes())["pending"])

    def write(self, pending: Iterable[Range]) -> None:
        """Store the pending ranges durably: write, fsync, rename, fsync of the folder."""
        draft = self._path.with_suffix(".draft")
        with draft.open("wb") as file:
            file.write(json.dumps({"pending": ranges_to_json(pending)}).encode())
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def close(self) -> None:
        os.close(self._lock_fd)
