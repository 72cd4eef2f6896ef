"""The parent of several workers ends when one dies, and ends the others."""

import sys

from gateway.workers import run_workers

_SLEEP = [sys.executable, "-c", "import time; time.sleep(30)"]


def _exit(code: int) -> list[str]:
    return [sys.executable, "-c", f"raise SystemExit({code})"]


def test_one_dead_worker_ends_all() -> None:
    assert run_workers([_SLEEP, _exit(3)]) == 3


def test_worker_that_ends_by_itself_is_a_failure_too() -> None:
    assert run_workers([_SLEEP, _exit(0)]) == 1


def test_worker_that_is_killed_is_told_apart_from_an_orderly_stop() -> None:
    killed = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"]
    assert run_workers([killed]) != 0
