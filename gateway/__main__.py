"""`python -m gateway`: run the data plane of this node until it is asked to stop."""

import logging
import sys

import uvloop

from gateway.app import data_folder, new_boot, node_id, run_worker
from gateway.config import load
from gateway.contracts.environment import SettingsError
from gateway.errors import SpoolFailedError


def main() -> int:
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    try:
        settings = load()
        if settings.workers > 1 or settings.kafka_bootstrap_servers:
            raise SettingsError(
                "This version serves with one worker and no Kafka: set TOLLWAY_GATEWAY_WORKERS=1 "
                "and unset KAFKA_BOOTSTRAP_SERVERS."
            )
    except SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201 - for the operator
        return 2
    data_folder(settings)
    node, boot = node_id(settings), new_boot(settings)
    try:
        uvloop.run(run_worker(settings, node=node, boot=boot, number=0))
    except SpoolFailedError as error:
        logging.getLogger(__name__).critical("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
