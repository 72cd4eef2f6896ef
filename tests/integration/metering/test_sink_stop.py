"""A sink asked to stop at any moment stops: the signal may find it inside its own wait."""

import random
import time
from pathlib import Path

import pytest

from tests.clickhouse import Embedded
from tests.sink_process import SinkProcess

STARTS = 12


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_every_stop_ends_the_process(tmp_path: Path, clickhouse: Embedded) -> None:
    (tmp_path / "spool").mkdir()
    rng = random.Random(3)
    sink = SinkProcess(tmp_path, clickhouse.url_writer)
    for _ in range(STARTS):
        sink.start()
        sink.wait_until_it_takes_signals()
        time.sleep(rng.random() / 2)
        sink.stop()
