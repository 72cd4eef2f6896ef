"""The machine under the bench: facts about it, its cores, and the CPU time of processes. Linux."""

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class ToolMissingError(RuntimeError):
    """A program that the bench needs is not installed; the text names it."""


def tool(name: str) -> str:
    """Find a program, in the system's folders as well.

    :raises ToolMissingError: when it is not installed.
    """
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        msg = f"{name} is not installed; on Debian: apt-get install {name}"
        raise ToolMissingError(msg)
    return found


def machine_facts(data: Path) -> dict[str, str]:
    """Tell what the figures depend on: CPU, interpreter, nginx, the file system of `data`."""
    facts = {
        "CPU": f"{cpu_model()}, {len(os.sched_getaffinity(0))} cores",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "file system": file_system(data),
    }
    try:
        told = subprocess.run([tool("nginx"), "-v"], capture_output=True, text=True, check=True)  # noqa: S603
    except ToolMissingError:
        return facts
    return facts | {"nginx": told.stderr.strip().rpartition("/")[2]}


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def file_system(path: Path) -> str:
    """Name the type of the file system that holds a path: a sync on tmpfs costs nothing."""
    best, kind = "", "unknown"
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, found = line.split()[:3]
        if path.resolve().is_relative_to(mount) and len(mount) >= len(best):
            best, kind = mount, found
    return kind


@dataclass(frozen=True, slots=True)
class Cores:
    """Who runs where. All the same set when there is one core only."""

    gateway: frozenset[int]
    load: frozenset[int]

    @property
    def apart(self) -> bool:
        return self.gateway.isdisjoint(self.load)


def split_cores() -> Cores:
    """Give the gateway a core of its own, and what loads and answers it all others."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == 1:
        return Cores(frozenset(cores), frozenset(cores))
    return Cores(frozenset(cores[:1]), frozenset(cores[1:]))


@contextmanager
def pinned(cores: frozenset[int]) -> Iterator[None]:
    """Let processes that are started inside run on these cores (a child takes them over)."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cpu_s(pid: int) -> float:
    """Return the user and system time that a process and its live children have used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own = (int(fields[11]) + int(fields[12])) / _TICKS_PER_S  # utime, stime
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return own + sum(cpu_s(int(child)) for child in children)
