"""Opens what a worker keeps: its stream in the spool, and the quota counters.

The order at a start is binding (`architecture.md` §4.5, §4.9): claim a stream of our own, and poll
only then; end the dead streams of this node, read what they used, open our own, and let the
counters start from there. The settings decide which counters: in this worker's memory, or in Redis
for any number of workers. Without Kafka the first worker also deletes what ClickHouse has; with
Kafka the shipper does.
"""

import asyncio
import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from redis.exceptions import RedisError

from gateway.adapters.quota_checkpoint import SpoolKeeper
from gateway.adapters.quota_memory import MemoryQuota, WindowUse
from gateway.adapters.quota_redis import RedisQuota
from gateway.adapters.spool import FileSpool, stream_name
from gateway.adapters.spool_commit import SpoolSettings
from gateway.adapters.spool_files import claim_stream
from gateway.adapters.spool_recovery import recover_dead_streams
from gateway.app import Identity, Ports
from gateway.config import GatewaySettings
from gateway.contracts.snapshot import Snapshot
from gateway.core.quota_replay import counted_charges
from gateway.ports import Clock, Quota
from gateway.spool_figures import NodeBacklog, spool_counters, spool_gauges

_log = logging.getLogger(__name__)


def spool_dir(settings: GatewaySettings) -> Path:
    return settings.data_dir / "spool"


def build_keeper(settings: GatewaySettings, snapshot: Snapshot) -> SpoolKeeper:
    """Build the keeper of this node's spool; the snapshot says what events count."""
    return SpoolKeeper(
        spool_dir=spool_dir(settings),
        counters=settings.data_dir / "gateway" / "quota.json",
        replay=partial(counted_charges, snapshot=snapshot),
    )


def claim(settings: GatewaySettings, identity: Identity) -> int:
    """Put the worker's stream on the disk before the portal hears of it; return its lock.

    The portal waits for every (boot, worker) that polled. What died before its first snapshot is
    then in the spool, as a dead stream without events, and the next boot seals it.

    :raises FileExistsError: the name was used before; boots must differ.
    """
    root = spool_dir(settings)
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    return claim_stream(root, _stream(identity))


def _stream(identity: Identity) -> str:
    return stream_name(node=identity.node, boot=identity.boot, worker=identity.worker)


async def open_ports(
    settings: GatewaySettings, identity: Identity, clock: Clock, snapshot: Snapshot, *, lock: int
) -> Ports:
    """Open spool and counters of one worker; `lock` is that of its `claim`."""
    root = spool_dir(settings)
    now_us = clock.now_us()
    recover = partial(recover_dead_streams, root, node=identity.node, now_us=now_us)
    for found in await asyncio.to_thread(recover):
        _log.info("ended the dead stream %s at seq %d", found.stream, found.last_seq)
    keeper = build_keeper(settings, snapshot)
    is_first = identity.worker == 0
    is_owner = is_first and not settings.kafka_bootstrap_servers
    if is_owner:  # a spool that was left full has room again, once the sink has it all
        await asyncio.to_thread(keeper.sweep, now_us=now_us)
    used = await asyncio.to_thread(keeper.rebuild, now_us=now_us)
    spool = await FileSpool.open(
        spool_dir=root,
        stream=_stream(identity),
        node=identity.node,
        clock=clock,
        settings=SpoolSettings(
            max_bytes=settings.spool_max_bytes, durability=settings.spool_durability
        ),
        lock=lock,
    )
    counters = _Counters(settings, stream=spool.stream, used=used)
    await counters.settle(keeper, now_us=now_us)
    backlog = NodeBacklog(root, clock)

    async def tidy(current: Snapshot) -> None:
        keeper = build_keeper(settings, current)
        await counters.settle(keeper, now_us=clock.now_us())
        if is_owner:
            sweep = partial(keeper.sweep, now_us=clock.now_us())
            await asyncio.to_thread(sweep)
        if is_first:
            await asyncio.to_thread(backlog.look)

    return Ports(
        spool=spool,
        quota=counters.quota,
        tidy=tidy,
        gauges=spool_gauges(spool) | (backlog.gauges() if is_first else {}),
        counters=spool_counters(spool),
    )


class _Counters:
    """The quota port, and what dead streams used, told to Redis until it knows."""

    def __init__(
        self,
        settings: GatewaySettings,
        *,
        stream: str,
        used: Mapping[str, Mapping[str, WindowUse]],
    ) -> None:
        self._redis: RedisQuota | None = None
        self._used: Mapping[str, Mapping[str, WindowUse]] | None = used  # until it is told
        if settings.redis_url:
            self._redis = RedisQuota(url=settings.redis_url, stream=stream)
            self.quota: Quota = self._redis
        else:
            memory = MemoryQuota()
            memory.restore(used.values())
            self.quota = memory

    async def settle(self, keeper: SpoolKeeper, *, now_us: int) -> None:
        """Tell Redis what dead streams used: at boot, and again when it comes back empty.

        While it is away the next call tries again.
        """
        if self._redis is None:
            return
        try:
            if self._used is None:
                if await self._redis.is_settled():
                    return
                _log.warning("quota: Redis has lost its data; settling the dead streams again")
                self._used = await asyncio.to_thread(keeper.rebuild, now_us=now_us)
            await self._redis.settle(self._used, now_us=now_us)
        except (RedisError, OSError) as error:
            _log.warning("quota: the dead streams are not settled yet: %s", error)
            return
        self._used = None
