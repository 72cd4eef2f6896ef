"""A shipper of its own; the tests kill it.

Run as `python -m tests.integration.gateway.shipper.shipper_process SPOOL_DIR SERVERS TOPIC`.
"""

import sys
import threading
from pathlib import Path

from gateway.adapters.shipper import ShipperSettings, run_shipper

if __name__ == "__main__":
    run_shipper(
        ShipperSettings(
            spool_dir=Path(sys.argv[1]),
            bootstrap_servers=sys.argv[2],
            topic=sys.argv[3],
            durable_topic=f"{sys.argv[3]}.durable",
        ),
        sweep=lambda: 0,
        stop=threading.Event(),
    )
