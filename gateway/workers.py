"""The parent of several workers: starts them, passes signals on, ends when one of them dies.

It restarts nothing: a supervisor above it does (`supervisord`, a container runtime). A worker
outlives it by no more than its orderly stop: each one's standard input is a pipe that the parent
holds open, and whose end says that the parent is gone, killed ones included.
"""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Final

_log = logging.getLogger(__name__)
_LOOK_EVERY_S: Final = 0.2


def worker_command(*, index: int, node: str, boot: str) -> list[str]:
    """Return the command line of one worker of this start."""
    return [sys.executable, "-m", "gateway", "worker", str(index), node, boot]


def run_workers(commands: Sequence[Sequence[str]]) -> int:
    """Run the workers until all have ended; the first that fails, or a signal, ends the others.

    :returns: 0 after an orderly stop, else the exit code of the first that failed.
    """
    children = [
        subprocess.Popen(command, env=os.environ, stdin=subprocess.PIPE)  # noqa: S603 - our own
        for command in commands
    ]
    stopping = False

    def stop(_signal: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True
        _terminate(children)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    failed = 0
    while any(child.poll() is None for child in children):
        ended = [child for child in children if child.poll() is not None]
        if ended and not stopping:
            failed = ended[0].returncode or 1
            _log.error("a worker ended with %d; ending the others", ended[0].returncode)
            stopping = True
            _terminate(children)
        time.sleep(_LOOK_EVERY_S)
    for child in children:
        child.communicate()  # closes our end of its standard input
    return failed or max((_exit_code(child) for child in children), default=0)


def when_parent_ends(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> None:
    """Let a worker stop once the parent that holds its standard input is gone."""
    stdin = sys.stdin.fileno()

    def look() -> None:
        if not os.read(stdin, 1):
            loop.remove_reader(stdin)
            _log.warning("the parent of the workers is gone; stopping")
            stop()

    loop.add_reader(stdin, look)


def _exit_code(child: subprocess.Popen[bytes]) -> int:
    """Return how a worker ended; one still starting dies of our SIGTERM, having served nobody."""
    return 0 if child.returncode == -signal.SIGTERM else abs(child.returncode)


def _terminate(children: Sequence[subprocess.Popen[bytes]]) -> None:
    for child in children:
        if child.poll() is None:
            child.terminate()
