"""Opens what a worker keeps: its stream in the spool, and the quota counters.

The order at a start is binding (`architecture.md` §4.5, §4.9): end the dead streams of this node,
open a stream of our own, and count every event that the spool still holds into the counters.
"""

import asyncio
import logging
from functools import partial
from pathlib import Path

from gateway.adapters.quota_checkpoint import ChargesOf, load_counts, rebuild, save_counts
from gateway.adapters.quota_memory import MemoryQuota
from gateway.adapters.spool import FileSpool
from gateway.adapters.spool_recovery import (
    done_segments,
    end_dead_streams,
    events_of,
    remove_ended,
)
from gateway.app import Identity, Ports
from gateway.config import GatewaySettings
from gateway.contracts.environment import SettingsError
from gateway.contracts.snapshot import Snapshot
from gateway.core.instants import to_instant
from gateway.core.quota_replay import counted_charges
from gateway.ports import Clock

_log = logging.getLogger(__name__)


def check_storage(settings: GatewaySettings) -> None:
    """Refuse what this storage cannot do.

    :raises SettingsError: with what to set.
    """
    if settings.workers > 1 or settings.kafka_bootstrap_servers:
        raise SettingsError(
            "This version serves with one worker and no Kafka: set TOLLWAY_GATEWAY_WORKERS=1 "
            "and unset KAFKA_BOOTSTRAP_SERVERS."
        )


async def open_ports(
    settings: GatewaySettings, identity: Identity, clock: Clock, snapshot: Snapshot
) -> Ports:
    """Open spool and counters of one worker; `snapshot` says what old events count."""
    root, counts_path = settings.data_dir / "spool", settings.data_dir / "gateway" / "quota.json"
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    now = to_instant(clock.now_us())
    for name in await asyncio.to_thread(end_dead_streams, root, node=identity.node, now=now):
        _log.info("ended the dead stream %s", name)
    spool = FileSpool(
        root, node=identity.node, boot=identity.boot, worker=identity.worker,
        now_us=clock.now_us, durability=settings.spool_durability,
        max_bytes=settings.spool_max_bytes,
    )  # fmt: skip
    quota = MemoryQuota()
    charges_of = partial(counted_charges, snapshot=snapshot)
    quota.restore(await asyncio.to_thread(rebuild, counts_path, root, charges_of))

    async def tidy(current: Snapshot) -> None:
        charges_of = partial(counted_charges, snapshot=current)
        await asyncio.to_thread(
            _tidy, root, counts_path, spool, spool.open_segment, charges_of, clock.now_us()
        )

    return Ports(spool=spool, quota=quota, tidy=tidy)


def _tidy(
    root: Path, counts_path: Path, spool: FileSpool, open_segment: str, charges_of: ChargesOf,
    now_us: int,
) -> None:  # fmt: skip
    """Count finished segments into the checkpoint, then remove what the sink has for good."""
    for folder in [path for path in root.iterdir() if path.is_dir()]:
        own = folder == spool.folder
        for path in done_segments(folder, open_segment=open_segment if own else ""):
            counts = load_counts(counts_path)
            counts.add(events_of(path), charges_of)
            save_counts(counts, counts_path, now_us=now_us)
            spool.used_bytes -= path.stat().st_size
            path.unlink()
        if not own:
            remove_ended(folder)
