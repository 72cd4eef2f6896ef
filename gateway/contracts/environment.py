"""How every process family reads its settings: names shared by all, and `…_FILE` indirection.

Pure: the environment and the file reader are arguments. Each family keeps one typed settings
module of its own (`gateway/config.py`, `metering/config.py`, `portal/settings/env.py`).
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final

FILE_SUFFIX: Final = "_FILE"
PREFIXES: Final = (
    "TOLLWAY_",
    "DATABASE_",
    "REDIS_",
    "KAFKA_",
    "CLICKHOUSE_",
    "STRIPE_",
    "EMAIL_",
)
"""Our variables; another program's `…_FILE` in the same environment is none of our business."""


class Mode(StrEnum):
    """`TOLLWAY_MODE`: nothing but Python, real servers on one machine, or production."""

    EMBEDDED = "embedded"
    STACK = "stack"
    PRODUCTION = "production"


class ClockMode(StrEnum):
    REAL = "real"
    SIMULATED = "simulated"


class Durability(StrEnum):
    PROCESS = "process"  # survives kill -9
    POWER = "power"  # the response waits for the group's fdatasync


class SettingsError(ValueError):
    """A setting is missing or contradicts another; the text says what to set."""


def expand_files(environ: Mapping[str, str], *, read: Callable[[str], str]) -> dict[str, str]:
    """Return the environment with our every `NAME_FILE` replaced by `NAME` = the file's content.

    :raises SettingsError: when both are set, or the file cannot be read.
    """
    values = dict(environ)
    for name, path in environ.items():
        if not (name.startswith(PREFIXES) and name.endswith(FILE_SUFFIX) and path):
            continue
        plain = name[: -len(FILE_SUFFIX)]
        if environ.get(plain):
            msg = f"Set {plain} or {name}, not both."
            raise SettingsError(msg)
        try:
            values[plain] = read(path).strip()
        except OSError as error:
            msg = f"{name} names a file that cannot be read: {error}."
            raise SettingsError(msg) from error
    return values
