"""`python -m gateway shipper`: the composition root of the node's shipper."""

import json
import logging
import signal
import sys
import threading
from functools import partial

from gateway.adapters.clock import ProductClock
from gateway.adapters.shipper import ShipperRunningError, ShipperSettings, run_shipper
from gateway.config import GatewaySettings
from gateway.contracts.snapshot import parse_document
from gateway.storage import build_keeper, spool_dir

_log = logging.getLogger(__name__)


def ship(settings: GatewaySettings) -> int:
    """Ship this node's spool to Kafka until SIGTERM or SIGINT; return the exit code."""
    if not settings.kafka_bootstrap_servers:
        print("The shipper needs KAFKA_BOOTSTRAP_SERVERS.", file=sys.stderr)  # noqa: T201
        return 2
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        # By another thread: this one may be inside `stop.wait` and hold the event's own lock.
        signal.signal(number, lambda *_: threading.Thread(target=stop.set).start())
    try:
        run_shipper(
            ShipperSettings(
                spool_dir=spool_dir(settings), bootstrap_servers=settings.kafka_bootstrap_servers
            ),
            sweep=partial(sweep, settings),
            stop=stop,
        )
    except ShipperRunningError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    return 0


def sweep(settings: GatewaySettings) -> int:
    """Count and delete what is durable, by the node's last good snapshot; nothing without one."""
    path = settings.data_dir / "gateway" / "snapshot.json"
    try:
        snapshot = parse_document(json.loads(path.read_bytes()))
    except (OSError, ValueError) as error:
        _log.warning("nothing is deleted without a snapshot: %s", error)
        return 0
    now_us = ProductClock(offset_us=snapshot.clock_offset_us).now_us()
    return build_keeper(settings, snapshot).sweep(now_us=now_us)
