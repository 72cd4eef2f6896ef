"""Composition root of a gateway worker: builds the parts, applies snapshots, stops in order.

A worker listens from its first snapshot on (the last good one on disk will do). It stops by
closing the door, finishing what is in flight, and sealing its stream for good.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.adapters.clock import ProductClock
from gateway.adapters.randomness import RandomBytes
from gateway.adapters.snapshot_poll import SnapshotPoll
from gateway.adapters.upstream import UpstreamClient
from gateway.config import GatewaySettings
from gateway.contracts.snapshot import Snapshot, SnapshotError
from gateway.core.addresses import TrustedProxies, parse_networks
from gateway.core.compile import Options, compile_snapshot
from gateway.edge import EdgeLimits, EdgeServer
from gateway.errors import GatewayError, SpoolFullError
from gateway.metrics import Figure, Stats
from gateway.ports import Clock, Quota, Spool
from gateway.private_port import PrivatePort
from gateway.proxy import Proxy

_log = logging.getLogger(__name__)
SEAL_EVERY_S: Final = 60.0
_FLUSH_EVERY_S: Final = 1.0
_TIDY_EVERY_S: Final = 2.0
_BACKLOG: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Node, start and worker; together they name the stream."""

    node: str
    boot: str
    worker: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The two stateful ports of a worker, open.

    tidy      counts what is done into the checkpoint, and removes it; called every few seconds
    gauges, counters   what the adapters have to say on `/metrics`
    """

    spool: Spool
    quota: Quota
    tidy: Callable[[Snapshot], Awaitable[None]]
    gauges: Mapping[str, Figure] = field(default_factory=dict)
    counters: Mapping[str, Figure] = field(default_factory=dict)


OpenPorts = Callable[[GatewaySettings, Identity, Clock, Snapshot], Awaitable[Ports]]
"""Opens spool and counters; the snapshot says what events of dead streams mean for counters."""


def build_options(settings: GatewaySettings) -> Options:
    return Options(
        usage_path=settings.usage_path,
        realm=settings.realm,
        docs_url=settings.errors_url,
        show_limits=settings.show_limits,
        hidden_response_headers=frozenset(
            name.lower().encode() for name in settings.hidden_response_headers
        ),
    )


def build_edge_limits(settings: GatewaySettings) -> EdgeLimits:
    return EdgeLimits(
        head_s=settings.head_timeout_s,
        body_idle_s=settings.body_idle_timeout_s,
        write_stall_s=settings.write_stall_timeout_s,
        keepalive_s=settings.keepalive_s,
        lifetime_s=settings.connection_lifetime_s,
        max_connections=settings.max_connections,
        max_per_address=settings.max_connections_per_address,
    )


class Worker:
    """One event loop's gateway."""

    def __init__(
        self, settings: GatewaySettings, identity: Identity, *, open_ports: OpenPorts
    ) -> None:
        self.settings = settings
        self.identity = identity
        self.stats = Stats()
        self.port = 0
        self.exit_code = 0
        self._open_ports = open_ports
        self._options = build_options(settings)
        self._trusted = TrustedProxies(parse_networks(settings.trusted_proxies))
        self._clock = ProductClock()
        self._stop = asyncio.Event()
        self._snapshot: Snapshot | None = None
        self._ports: Ports | None = None
        self._proxy: Proxy | None = None
        self._upstreams: UpstreamClient | None = None
        self._server: EdgeServer | None = None
        self._listener: asyncio.Server | None = None
        self._private = PrivatePort(self.stats, unready=self.unready)
        self._poll = SnapshotPoll(
            portal_url=settings.portal_url,
            token=settings.gateway_token,
            node=identity.node,
            boot=identity.boot,
            worker=identity.worker,
            path=settings.data_dir / "gateway" / "snapshot.json",
            writes_disk=identity.worker == 0,
        )

    @property
    def private_port(self) -> int:
        return self._private.port

    def stop(self) -> None:
        """Ask for an orderly end (SIGTERM)."""
        self._stop.set()

    def fail(self, why: str) -> None:
        """End, because nothing may be acknowledged any more."""
        _log.critical("stopping: %s", why)
        self.exit_code = 1
        self._stop.set()

    def unready(self) -> str:
        """Return why no requests are taken now; empty = they are."""
        if self._stop.is_set():
            return "stopping"
        if self._listener is None or self._ports is None:
            return "no snapshot yet"
        return "" if self._ports.spool.has_room() else "no room in the spool"

    async def run(self) -> int:
        """Serve until stopped; return the exit code."""
        settings = self.settings
        base = settings.private_port
        await self._private.open(
            settings.private_host,
            base + self.identity.worker if base else 0,
            within_s=settings.stop_grace_s if settings.workers > 1 else 0,
        )
        last_good = self._poll.load_last_good()
        if last_good is not None:
            try:
                await self.apply(last_good)
            except SnapshotError as error:  # another version of the gateway may have taken it
                _log.warning("the stored snapshot is refused: %s", error)
                self._poll.forget()
        tasks = [
            asyncio.create_task(self._guard(self._poll.run(self.apply))),
            asyncio.create_task(self._guard(self._every(SEAL_EVERY_S, self._seal))),
            asyncio.create_task(self._guard(self._every(_FLUSH_EVERY_S, self._flush))),
            asyncio.create_task(self._guard(self._every(_TIDY_EVERY_S, self._tidy))),
        ]
        await self._stop.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._shut_down()
        return self.exit_code

    async def _guard(self, job: Coroutine[Any, Any, None]) -> None:
        try:
            await job
        except GatewayError as error:
            self.fail(str(error))
        except Exception:  # noqa: BLE001 - the outermost loop of a task
            _log.exception("a task of the worker died")
            self.fail("a task died")

    async def _every(self, period_s: float, job: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(period_s)
            await job()

    async def _seal(self, *, reason: str = "") -> None:
        if self._ports is None:
            return
        try:
            await self._ports.spool.seal(reason=reason)
        except SpoolFullError:  # nothing billable is let in; the next seal covers what this would
            _log.warning("no room in the spool for a seal")

    async def _flush(self) -> None:
        if self._proxy is not None:
            self._proxy.flush_refusals()

    async def _tidy(self) -> None:
        if self._ports is not None and self._snapshot is not None:
            await self._ports.tidy(self._snapshot)

    async def apply(self, snapshot: Snapshot) -> None:
        """Put a snapshot in force between requests; the first one opens the door.

        :raises SnapshotError: when it cannot be compiled; the one in force stays.
        """
        compiled = await asyncio.to_thread(compile_snapshot, snapshot, self._options)
        if self._ports is None:
            self._clock.set_offset(snapshot.clock_offset_us)
            await self._open(snapshot)
        elif self._snapshot is None or snapshot.clock_offset_us != self._snapshot.clock_offset_us:
            await self._seal(reason="clock step")
            self._clock.set_offset(snapshot.clock_offset_us)
            await self._seal(reason="after a clock step")  # the watermark follows
        self._snapshot = snapshot
        if self._proxy is not None:
            self._proxy.compiled = compiled
        self._note_snapshot(snapshot)
        if self._listener is None:
            await self._listen()

    def _note_snapshot(self, snapshot: Snapshot) -> None:
        version = float(snapshot.version)
        self.stats.gauges["tollway_snapshot_version"] = ("Snapshot in force", lambda: version)

    async def _open(self, snapshot: Snapshot) -> None:
        self._ports = await self._open_ports(self.settings, self.identity, self._clock, snapshot)
        self._upstreams = UpstreamClient(hidden=self._options.hidden_response_headers)
        self._proxy = Proxy(
            clock=self._clock,
            spool=self._ports.spool,
            quota=self._ports.quota,
            upstreams=self._upstreams,
            stats=self.stats,
            trusted=self._trusted,
            random_bytes=RandomBytes(),
            on_fatal=self.fail,
        )
        spool = self._ports.spool
        self.stats.gauges["tollway_spool_has_room"] = (
            "1 while the spool takes requests", lambda: float(spool.has_room())
        )  # fmt: skip
        self.stats.gauges.update(self._ports.gauges)
        self.stats.counters.update(self._ports.counters)

    async def _listen(self) -> None:
        if self._proxy is None:
            return
        self._server = EdgeServer(
            self._proxy.serve,
            limits=build_edge_limits(self.settings),
            is_trusted=self._trusted.__contains__,
        )
        server = self._server
        self.stats.gauges["tollway_connections"] = (
            "Open client connections", lambda: float(server.open_connections)
        )  # fmt: skip
        self._listener = await asyncio.get_running_loop().create_server(
            server, self.settings.host, self.settings.port,
            reuse_port=self.settings.workers > 1, backlog=_BACKLOG,
        )  # fmt: skip
        self.port = self._listener.sockets[0].getsockname()[1]
        _log.info("listening on %s:%d", self.settings.host, self.port)

    async def _shut_down(self) -> None:
        """Stop accepting, finish in flight, write what is left, seal, and close."""
        if self._listener is not None:
            self._listener.close()
        if self._server is not None:
            await self._server.drain_and_close(grace_s=self.settings.stop_grace_s)
        if self._proxy is not None and self.exit_code == 0:
            self._proxy.flush_refusals(everything=True)
        if self._upstreams is not None:
            await self._upstreams.close()
        if self._ports is not None:
            await self._ports.quota.close()
            with contextlib.suppress(GatewayError):
                await self._ports.spool.close()
        await self._private.close()
