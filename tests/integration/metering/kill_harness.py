"""Runs the spool sink in small batches until all is drained, and kills itself at a given step.

`python -m tests.integration.metering.kill_harness SPOOL CHECKPOINT URL STEP`; a step is crossed
before and after each write of the checkpoint, each insert and each publishing of `durable`.
STEP 0 = never. Exit 0 = drained.
"""

import itertools
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from metering import sink_spool
from metering.clickhouse import ClickHouse
from metering.sink_checkpoint import Checkpoint


def killing(kill_at: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a decorator that counts steps over all that it wraps, and dies at `kill_at`."""
    steps = itertools.count(1)

    def cross() -> None:
        if next(steps) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        def crossed(*args: Any, **more: Any) -> Any:
            cross()
            result = function(*args, **more)
            cross()
            return result

        return crossed

    return wrap


def main(spool: str, checkpoint: str, url: str, step: str) -> None:
    wrap = killing(int(step))
    sink_spool.STREAM_BYTES = 4000  # type: ignore[misc]  # several batches from little data
    publish = wrap(sink_spool.SpoolSink._publish)
    sink_spool.SpoolSink._publish = publish  # type: ignore[method-assign]
    Checkpoint.write = wrap(Checkpoint.write)  # type: ignore[method-assign]
    ClickHouse.insert_lines = wrap(ClickHouse.insert_lines)  # type: ignore[method-assign]
    sink = sink_spool.SpoolSink(
        spool_dir=Path(spool), checkpoint=Checkpoint(Path(checkpoint)),
        clickhouse=ClickHouse(url), stop=threading.Event(),
    )  # fmt: skip
    sink.redo()
    while sink.step():
        pass


if __name__ == "__main__":
    main(*sys.argv[1:])
