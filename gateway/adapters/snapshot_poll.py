"""Brings snapshots from the portal by long-poll, and keeps the last good one on disk.

`GET {portal}/internal/v1/snapshot?after=N`: N is the version held, so it is also the
acknowledgement. 200 brings a document, 204 means nothing new. A document that is refused is
reported by `refused=M` and a reason on the next poll, and not asked for again until the portal
has a newer one.
"""

import asyncio
import json
import logging
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp

from gateway.contracts.snapshot import (
    BOOT_HEADER,
    KINDS,
    MAX_POLL_S,
    NODE_HEADER,
    SNAPSHOT_PATH,
    WORKER_HEADER,
    Snapshot,
    SnapshotError,
    build_document,
    parse_document,
)

_log = logging.getLogger(__name__)
_BACKOFF_S: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
_MAX_REASON_CHARS: Final = 300


class SnapshotPoll:
    """One worker's source of snapshots (`ports.SnapshotSource`)."""

    def __init__(
        self, *, portal_url: str, token: str, node: str, boot: str, worker: int, path: Path,
        writes_disk: bool = True,
    ) -> None:  # fmt: skip
        self._url = portal_url.rstrip("/") + SNAPSHOT_PATH
        self._headers = {
            "Authorization": f"Bearer {token}",
            NODE_HEADER: node,
            BOOT_HEADER: boot,
            WORKER_HEADER: str(worker),
        }
        self._path = path
        self._writes_disk = writes_disk
        self._held: Snapshot | None = None
        self._refused: tuple[int, str] | None = None
        self.last_contact_s: float | None = None

    def load_last_good(self) -> Snapshot | None:
        """Read the last good snapshot; a damaged file is as good as none, and is logged."""
        try:
            snapshot = parse_document(json.loads(self._path.read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            _log.warning("the stored snapshot cannot be used: %s", error)
            return None
        self._held = snapshot
        return snapshot

    def forget(self) -> None:
        """Hold nothing, so that the next poll asks for a whole snapshot."""
        self._held = None

    async def run(self, apply: Callable[[Snapshot], Awaitable[None]]) -> None:
        """Poll until cancelled. `apply` may raise `SnapshotError` to refuse a version."""
        failures = 0
        timeout = aiohttp.ClientTimeout(total=MAX_POLL_S + 10, connect=5)
        async with aiohttp.ClientSession(headers=self._headers, timeout=timeout) as session:
            while True:
                try:
                    await self._poll(session, apply)
                    failures = 0
                except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
                    wait_s = _BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)]
                    if failures in (0, len(_BACKOFF_S)):
                        _log.warning("the portal gives no snapshot: %s", error)
                    failures += 1
                    await asyncio.sleep(wait_s)

    async def _poll(
        self, session: aiohttp.ClientSession, apply: Callable[[Snapshot], Awaitable[None]]
    ) -> None:
        query: dict[str, Any] = {"after": self._held.version if self._held is not None else 0}
        if self._refused is not None:
            query |= {"refused": self._refused[0], "reason": self._refused[1]}
        async with session.get(f"{self._url}?{urlencode(query)}") as response:
            if response.status == 204:
                self._note_contact()
                return
            if response.status != 200:
                msg = f"status {response.status}"
                raise ValueError(msg)
            document = json.loads(await response.read())
        self._note_contact()
        await self._take(document, apply)

    def _note_contact(self) -> None:
        self.last_contact_s = asyncio.get_running_loop().time()

    async def _take(self, document: Any, apply: Callable[[Snapshot], Awaitable[None]]) -> None:
        version = document.get("version") if isinstance(document, dict) else None
        if self._refused is not None and self._refused[0] == version:
            await asyncio.sleep(_BACKOFF_S[-1])  # the portal has nothing better yet
            return
        try:
            snapshot = await asyncio.to_thread(parse_document, document, base=self._held)
            await apply(snapshot)
        except SnapshotError as error:
            _log.exception("snapshot %s refused", version)
            self._refused = (
                version if type(version) is int else 0,
                str(error)[:_MAX_REASON_CHARS],
            )
            return
        self._held, self._refused = snapshot, None
        if self._writes_disk:
            await asyncio.to_thread(write_snapshot, snapshot, self._path)


def write_snapshot(snapshot: Snapshot, path: Path) -> None:
    """Write a snapshot as a full document, atomically and durably."""
    document = build_document(
        version=snapshot.version,
        clock_offset_us=snapshot.clock_offset_us,
        sandbox=snapshot.sandbox,
        objects={kind: list(getattr(snapshot, kind).values()) for kind in KINDS},
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w") as file:
            json.dump(document, file, separators=(",", ":"))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()
