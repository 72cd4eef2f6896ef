"""`python -m gateway`: run the data plane of this node until it is asked to stop."""

import asyncio
import gc
import logging
import signal
import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import Final

import uvloop
from aiohttp import http_parser

from gateway.app import Identity, Worker
from gateway.config import GatewaySettings, load
from gateway.contracts.environment import SettingsError
from gateway.identity import claim_boot_id, node_id
from gateway.shipping import ship
from gateway.storage import claim, open_ports
from gateway.workers import run_workers, when_parent_ends, worker_command

_GC_THRESHOLD: Final = 20_000
"""A request leaves no cycles; looking for them every 700 objects cost 3 % of the CPU."""


def main(arguments: Sequence[str]) -> int:
    """Run all workers of this node; `worker INDEX NODE BOOT`: one of them; `shipper`: that."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    try:
        settings = load()
        check_parser()
    except SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201 - for the operator
        return 2
    if len(arguments) == 4 and arguments[0] == "worker":
        index, node, boot = arguments[1:]
        identity = Identity(node=node, boot=boot, worker=int(index))
        return serve(settings, identity, has_parent=True)
    if arguments == ["shipper"]:
        return ship(settings)
    if arguments:
        print("usage: python -m gateway [shipper]", file=sys.stderr)  # noqa: T201 - for the operator
        return 2
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    node = node_id(settings.data_dir, setting=settings.node_id)
    boot = claim_boot_id(settings.data_dir, wall_us=time.time_ns() // 1000)
    if settings.workers == 1:
        return serve(settings, Identity(node=node, boot=boot, worker=0))
    return run_workers(
        [worker_command(index=i, node=node, boot=boot) for i in range(settings.workers)]
    )


def check_parser() -> None:
    """Refuse to start on aiohttp's parser in Python, which lets through what ours must not see.

    :raises SettingsError: with what to install.
    """
    if not hasattr(http_parser, "HttpRequestParserC"):
        raise SettingsError(
            "aiohttp runs without its C parser: install a wheel of it, and unset "
            "AIOHTTP_NO_EXTENSIONS."
        )


def serve(settings: GatewaySettings, identity: Identity, *, has_parent: bool = False) -> int:
    """Run one worker on a loop; SIGTERM, SIGINT and its parent's end stop it in order."""
    gc.set_threshold(_GC_THRESHOLD)
    lock = claim(settings, identity)

    async def run() -> int:
        worker = Worker(settings, identity, open_ports=partial(open_ports, lock=lock))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, worker.stop)
        if has_parent:
            when_parent_ends(loop, worker.stop)
        return await worker.run()

    return uvloop.run(run())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
