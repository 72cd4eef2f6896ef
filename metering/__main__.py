"""Composition root of the metering processes.

python -m metering embedded   the ClickHouse-compatible endpoint over chDB
python -m metering migrate    bring the schema up to date
python -m metering sink       stream -> ClickHouse, from the spool or from Kafka
"""

import argparse
import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from aiohttp import web

from gateway.contracts.environment import SettingsError
from metering.clickhouse import ClickHouse
from metering.config import (
    READER,
    WRITER,
    clickhouse_url,
    read_embedded_settings,
    read_environment,
    read_sink_settings,
)
from metering.embedded.engine import DirectoryBusyError, Engine
from metering.embedded.server import User, build_app
from metering.errors import MeteringUnavailableError
from metering.migrate import SchemaError, migrate
from metering.sink import Sink

log = logging.getLogger("tollway.metering")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m metering", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    embedded = commands.add_parser("embedded", help="serve ClickHouse's HTTP interface from chDB")
    embedded.add_argument("--host", default="127.0.0.1")
    embedded.add_argument("--port", type=int, default=8123, help="0 = any free port")
    embedded.add_argument("--data", type=Path, help="directory; default: clickhouse/ of ours")
    commands.add_parser("migrate", help="bring the schema up to date")
    commands.add_parser("sink", help="move the spool into ClickHouse")
    return parser


def _migrate(environ: Mapping[str, str]) -> None:
    clickhouse = ClickHouse(clickhouse_url(environ))
    try:
        done = migrate(clickhouse, cluster=environ.get("CLICKHOUSE_CLUSTER", ""))
    finally:
        clickhouse.close()
    log.info("schema: %s", ", ".join(done) or "nothing to do")


def _sink(environ: Mapping[str, str]) -> None:
    settings = read_sink_settings(environ)
    if settings.kafka_servers:
        raise SettingsError("This version's sink reads the spool: unset KAFKA_BOOTSTRAP_SERVERS.")
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    clickhouse = ClickHouse(settings.clickhouse_url)
    sink = Sink(clickhouse, spool=settings.spool_dir, checkpoint=settings.checkpoint_path)
    sink.run(stopped)
    clickhouse.close()


async def _serve_embedded(arguments: argparse.Namespace, environ: Mapping[str, str]) -> None:
    settings = read_embedded_settings(environ)
    users = {
        WRITER: User(WRITER, settings.writer_password, read_only=False),
        READER: User(READER, settings.reader_password, read_only=True),
    }
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    with Engine(arguments.data or settings.data_dir) as engine:
        runner = web.AppRunner(build_app(engine, users=users), access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, arguments.host, arguments.port)
        await site.start()
        host, port = runner.addresses[0][:2]
        print(f"listening on {host}:{port}", flush=True)  # noqa: T201  the caller asked with port 0
        await stopped.wait()
        await runner.cleanup()


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run one command; the result is the exit status."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    try:
        values = read_environment(environ)
        if arguments.command == "embedded":
            asyncio.run(_serve_embedded(arguments, values))
        elif arguments.command == "sink":
            _sink(values)
        else:
            _migrate(values)
    except (SettingsError, SchemaError, DirectoryBusyError, MeteringUnavailableError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
