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


def parse_dotenv(text: str) -> dict[str, str]:
    """Read `NAME=value` lines; comments, and quotes around a value, are left out.

    >>> parse_dotenv('# a comment\\nREDIS_URL="redis://h"\\n')
    {'REDIS_URL': 'redis://h'}
    """
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {k.strip(): v.strip().strip('"') for k, v in pairs if not k.lstrip().startswith("#")}


def layered_environment(
    process: Mapping[str, str], *, project_dir: str, read: Callable[[str], str]
) -> dict[str, str]:
    """Return every setting that is in force: process environment > `.env` > the data directory's.

    `.env` lies in the project, `env` in the data directory, where `make up` leaves it; `…_FILE` is
    expanded and what is empty counts as unset. `read` raises OSError for a file that is not there.

    :raises SettingsError: when a `…_FILE` cannot be read, or is set beside its plain name.
    """

    def held(path: str) -> dict[str, str]:
        try:
            return parse_dotenv(read(path))
        except OSError:
            return {}

    values = {**held(f"{project_dir}/.env"), **process}
    data_dir = values.get("TOLLWAY_DATA_DIR") or f"{project_dir}/data"
    return set_values({**held(f"{data_dir}/env"), **values}, read=read)


def set_values(environ: Mapping[str, str], *, read: Callable[[str], str]) -> dict[str, str]:
    """Expand `…_FILE` and leave out what is empty."""
    return {k: v for k, v in expand_files(environ, read=read).items() if v}


def sentences(error: ValueError) -> str:
    """Say what a settings model found wrong, one sentence a problem, each with its variable."""
    details = getattr(error, "errors", None)
    if details is None:
        return str(error)
    lines = []
    for detail in details():
        where = ".".join(str(part) for part in detail["loc"])
        text = detail["msg"].removeprefix("Value error, ")
        lines.append(f"{where}: {text}" if where else text)
    return " ".join(lines)
