"""One gateway worker, put together: spool, counters, snapshots, edge, private listener.

The composition root. `run_worker` returns when it was asked to stop and everything in flight is
finished and sealed, or raises when the disk failed.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import uuid
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest

from gateway.adapters.clock import ProductClock
from gateway.adapters.quota_checkpoint import load_counts, rebuild, save_counts
from gateway.adapters.quota_memory import MemoryQuota
from gateway.adapters.snapshot_poll import SnapshotPoll
from gateway.adapters.spool import FileSpool
from gateway.adapters.spool_recovery import (
    done_segments,
    end_dead_streams,
    events_of,
    remove_ended,
)
from gateway.adapters.upstream import UpstreamClient
from gateway.config import GatewaySettings
from gateway.contracts.snapshot import Snapshot
from gateway.core.addresses import TrustedProxies, parse_networks
from gateway.core.compile import Options, compile_snapshot
from gateway.core.instants import to_instant
from gateway.core.quota_replay import counted_charges
from gateway.edge import EdgeLimits, EdgeServer
from gateway.errors import SpoolFailedError
from gateway.metrics import Stats
from gateway.proxy import Proxy

_log = logging.getLogger(__name__)
SEAL_EVERY_S: Final = 60.0
CLEAN_EVERY_S: Final = 2.0


def node_id(settings: GatewaySettings) -> str:
    """Return the node's id: the setting, or one made once and kept in the data directory."""
    if settings.node_id:
        return settings.node_id
    path = settings.data_dir / "gateway" / "node_id"
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError), path.open("x") as file:
        file.write(f"node-{uuid.uuid4().hex[:12]}")
    return path.read_text().strip()


def new_boot(settings: GatewaySettings) -> str:
    """Return an id for this start; the exclusively created file makes it unique on the node."""
    folder = settings.data_dir / "gateway" / "boots"
    folder.mkdir(parents=True, exist_ok=True)
    boot = secrets.token_hex(6)
    (folder / boot).open("x").close()
    return boot


class Worker:
    """Holds one worker's parts; `apply` takes snapshots, the loops keep spool and seals going."""

    def __init__(self, settings: GatewaySettings, *, node: str, boot: str, number: int) -> None:
        self._settings = settings
        self._spool_root = settings.data_dir / "spool"
        self._counts_path = settings.data_dir / "gateway" / "quota.json"
        self.stop = asyncio.Event()
        self.fatal = ""
        self.clock = ProductClock()
        self.stats = Stats()
        self.quota = MemoryQuota()
        self.upstreams = UpstreamClient()
        self.poll = SnapshotPoll(
            portal_url=settings.portal_url, token=settings.gateway_token, node=node, boot=boot,
            worker=number, path=settings.data_dir / "gateway" / "snapshot.json",
            writes_disk=number == 0,
        )  # fmt: skip
        self._snapshot: Snapshot | None = None
        held = self.poll.load_last_good()
        if held is not None:
            self.clock.set_offset(held.clock_offset_us)
        now = to_instant(self.clock.now_us())
        for name in end_dead_streams(self._spool_root, node=node, now=now):
            _log.info("ended the dead stream %s", name)
        self.spool = FileSpool(
            self._spool_root, node=node, boot=boot, worker=number, now_us=self.clock.now_us,
            durability=settings.spool_durability, max_bytes=settings.spool_max_bytes,
        )  # fmt: skip
        self.proxy = Proxy(
            clock=self.clock, spool=self.spool, quota=self.quota, upstreams=self.upstreams,
            stats=self.stats, trusted=TrustedProxies(parse_networks(settings.trusted_proxies)),
            random_bytes=os.urandom, on_fatal=self._on_fatal,
        )  # fmt: skip
        self._last_good = held

    def _on_fatal(self, reason: str) -> None:
        self.fatal = reason
        self.stop.set()

    async def start_from_disk(self) -> None:
        """Serve with the last good snapshot until the portal gives a newer one."""
        if self._last_good is not None:
            await self.apply(self._last_good)

    async def apply(self, snapshot: Snapshot) -> None:
        """Put a snapshot in force between requests; a clock step seals before and after it.

        :raises SnapshotError: when the gateway refuses it as a whole.
        """
        compiled = compile_snapshot(snapshot, self._options())
        before, self._snapshot = self._snapshot, snapshot
        if before is None:
            charges_of = partial(counted_charges, snapshot=snapshot)
            self.quota.restore(
                await asyncio.to_thread(
                    rebuild, self._counts_path, self._spool_root, charges_of
                )
            )  # fmt: skip
        if before is None or before.clock_offset_us != snapshot.clock_offset_us:
            await self.spool.seal(reason="clock step")
            self.clock.set_offset(snapshot.clock_offset_us)
            await self.spool.seal(reason="after a clock step")
        self.proxy.compiled = compiled

    def _options(self) -> Options:
        settings = self._settings
        return Options(
            docs_url=settings.errors_url,
            realm=settings.realm,
            usage_path=settings.usage_path,
            show_limits=settings.show_limits,
        )

    async def keep_sealing(self) -> None:
        while True:
            await asyncio.sleep(SEAL_EVERY_S)
            await self.spool.seal()

    async def keep_reporting(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self.proxy.flush_refusals()

    async def keep_cleaning(self) -> None:
        """Count segments into the checkpoint and remove what the sink has for good."""
        while True:
            await asyncio.sleep(CLEAN_EVERY_S)
            if self._snapshot is not None:
                await asyncio.to_thread(self._clean, self._snapshot, self.spool.open_segment)

    def _clean(self, snapshot: Snapshot, open_segment: str) -> None:
        charges_of = partial(counted_charges, snapshot=snapshot)
        for folder in [p for p in self._spool_root.iterdir() if p.is_dir()]:
            own = folder == self.spool.folder
            for path in done_segments(folder, open_segment=open_segment if own else ""):
                counts = load_counts(self._counts_path)
                counts.add(events_of(path), charges_of)
                save_counts(counts, self._counts_path, now_us=self.clock.now_us())
                self.spool.used_bytes -= path.stat().st_size
                path.unlink()
            if not own:
                remove_ended(folder)


def private_app(worker: Worker) -> web.Application:
    """Build `/metrics`, `/livez` and `/readyz` of the private listener."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(worker.stats)
    gauges = worker.stats.gauges
    gauges["tollway_spool_bytes"] = ("Bytes in the spool", lambda: worker.spool.used_bytes)
    gauges["tollway_spool_seq"] = ("Records in this stream", lambda: worker.spool.last_seq)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), content_type="text/plain")

    async def live(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def ready(_: web.Request) -> web.Response:
        problems = [
            name
            for name, bad in (
                ("no_snapshot", worker.proxy.compiled is None),
                ("spool_failed", bool(worker.spool.failed)),
                ("stopping", worker.stop.is_set()),
            )
            if bad
        ]
        return web.json_response({"problems": problems}, status=503 if problems else 200)

    app = web.Application()
    app.add_routes(
        [web.get("/metrics", metrics), web.get("/livez", live), web.get("/readyz", ready)]
    )
    return app


def _edge(worker: Worker, settings: GatewaySettings) -> EdgeServer:
    trusted = TrustedProxies(parse_networks(settings.trusted_proxies))
    limits = EdgeLimits(
        head_s=settings.head_timeout_s, body_idle_s=settings.body_idle_timeout_s,
        write_stall_s=settings.write_stall_timeout_s, keepalive_s=settings.keepalive_s,
        lifetime_s=settings.connection_lifetime_s, max_connections=settings.max_connections,
        max_per_address=settings.max_connections_per_address,
    )  # fmt: skip
    return EdgeServer(worker.proxy.serve, limits=limits, is_trusted=trusted.__contains__)


async def _watched(worker: Worker, loop: Callable[[], Awaitable[None]]) -> None:
    """Run a loop; a failed disk stops the worker."""
    try:
        await loop()
    except SpoolFailedError as error:
        worker.fatal = str(error)
        worker.stop.set()


async def run_worker(settings: GatewaySettings, *, node: str, boot: str, number: int) -> None:
    """Serve until SIGTERM or SIGINT.

    :raises SpoolFailedError: when the disk failed; nothing was acknowledged after that.
    """
    worker = Worker(settings, node=node, boot=boot, number=number)
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, worker.stop.set)
    await worker.start_from_disk()
    edge = _edge(worker, settings)
    listener = await loop.create_server(
        edge, settings.host, settings.port, reuse_port=settings.workers > 1, backlog=1024
    )
    private = web.AppRunner(private_app(worker), access_log=None)
    await private.setup()
    await web.TCPSite(private, settings.private_host, settings.private_port + number).start()
    loops = [worker.keep_sealing, worker.keep_reporting, worker.keep_cleaning]
    tasks = [asyncio.create_task(_watched(worker, keep)) for keep in loops]
    tasks.append(asyncio.create_task(worker.poll.run(worker.apply)))
    await worker.stop.wait()
    listener.close()
    await edge.drain_and_close(grace_s=settings.stop_grace_s)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await private.cleanup()
    await worker.upstreams.close()
    if worker.fatal:
        raise SpoolFailedError(worker.fatal)
    worker.proxy.flush_refusals(everything=True)
    await worker.spool.close()


def data_folder(settings: GatewaySettings) -> Path:
    """Return the data directory, made if it was not there."""
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    return settings.data_dir
