"""Composition root of the metering processes.

python -m metering embedded   the ClickHouse-compatible endpoint over chDB
python -m metering migrate    bring the schema up to date
python -m metering sink       stream -> ClickHouse, from the spool or from Kafka
python -m metering resolve    settle a dead letter: corrected, or given up
"""

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from aiohttp import web

from gateway.contracts.environment import SettingsError
from metering.clickhouse import ClickHouse, LinesRefusedError
from metering.config import (
    READER,
    WRITER,
    clickhouse_url,
    read_embedded_settings,
    read_environment,
    read_sink_settings,
)
from metering.dead_letters import DeadLetterError, dead_letter_resolve
from metering.embedded.engine import DirectoryBusyError, Engine
from metering.embedded.server import User, build_app
from metering.errors import MeteringUnavailableError
from metering.migrate import SchemaError, migrate
from metering.sink import run_sink
from metering.sink_checkpoint import SinkBusyError

_EXPECTED: Final = (
    SettingsError,
    SchemaError,
    DirectoryBusyError,
    SinkBusyError,
    DeadLetterError,
    LinesRefusedError,
    MeteringUnavailableError,
)
"""What ends a command with a sentence instead of a traceback."""

log = logging.getLogger("tollway.metering")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m metering", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    embedded = commands.add_parser("embedded", help="serve ClickHouse's HTTP interface from chDB")
    embedded.add_argument("--host", default="127.0.0.1")
    embedded.add_argument("--port", type=int, default=8123, help="0 = any free port")
    embedded.add_argument("--data", type=Path, help="directory; default: clickhouse/ of ours")
    commands.add_parser("migrate", help="bring the schema up to date")
    commands.add_parser("sink", help="stream events into ClickHouse until stopped")
    resolve = commands.add_parser("resolve", help="resolve a dead letter, so that periods close")
    resolve.add_argument("stream")
    resolve.add_argument("seq", type=int)
    resolve.add_argument("--note", required=True, help="why, and who decided")
    resolve.add_argument("--line", type=Path, help="file with the corrected event, one line")
    return parser


def _resolve(arguments: argparse.Namespace, environ: Mapping[str, str]) -> None:
    clickhouse = ClickHouse(clickhouse_url(environ))
    try:
        dead_letter_resolve(
            clickhouse,
            stream=arguments.stream,
            seq=arguments.seq,
            note=arguments.note,
            line=arguments.line.read_bytes() if arguments.line else None,
        )
    finally:
        clickhouse.close()


def _migrate(environ: Mapping[str, str]) -> None:
    clickhouse = ClickHouse(clickhouse_url(environ))
    try:
        done = migrate(clickhouse, cluster=environ.get("CLICKHOUSE_CLUSTER", ""))
    finally:
        clickhouse.close()
    log.info("schema: %s", ", ".join(done) or "nothing to do")


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
        elif arguments.command == "migrate":
            _migrate(values)
        elif arguments.command == "resolve":
            _resolve(arguments, values)
        else:
            run_sink(read_sink_settings(values))
    except _EXPECTED as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
