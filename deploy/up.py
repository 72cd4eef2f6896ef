"""`make up` and `make stack`: prepare, start everything under one supervisor, say where it is.

Ctrl-C stops everything that was started here. A second start keeps the data.
"""

import argparse
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import xmlrpc.client
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from supervisor.xmlrpc import SupervisorTransport

from deploy.installation import LOOPBACK, ROOT, Installation, Outside, Ports
from deploy.processes import Process, processes, supervisor_config
from deploy.servers import Server, start_kafka, start_postgres, start_redis

START_TIMEOUT_S = 90
DAYS = 34  # a whole billing period, and what has come since


class StartError(Exception):
    """Something keeps the product from starting; the text is what the user reads."""


def check_ports(ports: Ports) -> None:
    """Refuse to start when somebody listens already.

    :raises StartError: naming the port, its use and the setting that moves it.
    """
    for name in Ports.__slots__:
        number = getattr(ports, name)
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind((LOOPBACK, number))
            except OSError as error:
                msg = (
                    f"Port {number} ({name}) is in use: stop what listens there, or set "
                    f"TOLLWAY_{name.upper()}_PORT to another port."
                )
                raise StartError(msg) from error


def run_tool(command: list[str], environment: dict[str, str], failing: str) -> str:
    """Run one of our own programs to its end and return what it printed; its errors are shown.

    :raises StartError: `failing` and the end of its output when it exits with another code than 0.
    """
    done = subprocess.run(  # noqa: S603 - our own interpreter and modules
        [sys.executable, *command],
        env={**os.environ, **environment},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        msg = f"{failing}\n{done.stdout[-2000:]}"
        raise StartError(msg)
    return done.stdout


def migrate(installation: Installation) -> None:
    """Bring the database and ClickHouse to this version's tables."""
    run_tool(
        ["manage.py", "migrate", "--no-input", "--verbosity", "0"],
        installation.control_plane(),
        "The database could not be migrated.",
    )
    run_tool(
        ["-m", "metering", "migrate"],
        installation.metering(),
        "ClickHouse could not be migrated.",
    )


class Supervisor:
    """A running `supervisord`, spoken to over its unix socket."""

    def __init__(self, installation: Installation, runtime: Path) -> None:
        self.installation = installation
        self.socket = runtime / "supervisor.sock"
        config = installation.data / "supervisord.conf"
        config.write_text(supervisor_config(installation, socket=self.socket))
        config.chmod(0o600)
        self.process = subprocess.Popen(  # noqa: S603 - our own interpreter
            [sys.executable, "-m", "supervisor.supervisord", "-c", str(config)],
            cwd=ROOT,
            start_new_session=True,  # Ctrl-C reaches us alone; we stop it in order
        )
        transport = SupervisorTransport(None, None, f"unix://{self.socket}")
        self._rpc: Any = xmlrpc.client.ServerProxy("http://localhost", transport=transport)

    def wait_for_socket(self) -> None:
        wait(lambda: self.socket.exists() and self._alive(), "the supervisor")

    def _alive(self) -> bool:
        try:
            return bool(self._rpc.supervisor.getState()["statename"] == "RUNNING")
        except (OSError, http.client.HTTPException):
            return False

    def start(self, wanted: list[Process]) -> None:
        """Start processes side by side and wait until each is useful.

        :raises StartError: naming the first that is not, with the end of its log.
        """
        for process in wanted:
            names = [f"{process.name}:*"] if process.count > 1 else [process.name]
            for name in names:
                if name.endswith(":*"):
                    self._rpc.supervisor.startProcessGroup(process.name, False)
                else:
                    self._rpc.supervisor.startProcess(name, False)
        for process in wanted:
            wait(partial(self._useful, process), process.name)

    def _useful(self, process: Process) -> bool:
        states = [
            info
            for info in self._rpc.supervisor.getAllProcessInfo()
            if info["group"] == process.name
        ]
        if any(info["statename"] == "FATAL" for info in states):
            log = Path(states[0]["stdout_logfile"]).read_text()[-2000:]
            msg = f"{process.name} does not start. The end of its log:\n{log}"
            raise StartError(msg)
        running = all(info["statename"] == "RUNNING" for info in states)
        return running and (not process.ready or answers(process.ready))

    def stop(self) -> None:
        """Stop every process in order, then the supervisor."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=40)
            except subprocess.TimeoutExpired:
                self.process.kill()


def answers(url: str) -> bool:
    """Say whether a GET gives a 2xx."""
    try:
        with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310 - loopback http
            return bool(200 <= response.status < 300)
    except (urllib.error.URLError, OSError, http.client.HTTPException):
        return False


def wait(ready: Callable[[], bool], what: str) -> None:
    """Poll until ready.

    :raises StartError: after `START_TIMEOUT_S`.
    """
    deadline = time.monotonic() + START_TIMEOUT_S
    while not ready():
        if time.monotonic() > deadline:
            msg = f"{what} was not ready within {START_TIMEOUT_S} s; see the logs folder."
            raise StartError(msg)
        time.sleep(0.1)


@contextmanager
def outside_servers(mode: str, data: Path) -> Iterator[Outside]:
    """Start PostgreSQL, Redis and Kafka for `make stack`; nothing for `make up`."""
    if mode == "embedded":
        yield Outside()
        return
    with ExitStack() as stack:
        urls = []
        for start in (start_postgres, start_redis, start_kafka):
            server: Server = start(data / start.__name__.removeprefix("start_"))
            stack.callback(server.stop)
            urls.append(server.url)
        yield Outside(*urls)


@contextmanager
def running(
    installation: Installation, *, days: int
) -> Iterator[tuple[Supervisor, dict[str, Any]]]:
    """Run a prepared installation: migrated, seeded when empty, every process useful.

    days   of the demo's past to play where the database was empty
    """
    with tempfile.TemporaryDirectory(prefix="tollway-") as runtime:
        supervisor = Supervisor(installation, Path(runtime))
        try:
            supervisor.wait_for_socket()
            everything = processes(installation)
            supervisor.start([p for p in everything if p.wave == 0])
            migrate(installation)
            access = seed(installation, days=days)
            supervisor.start([p for p in everything if p.wave == 1])
            if access["is_past"]:
                replay(installation)
            yield supervisor, access
        finally:
            supervisor.stop()


def describe(installation: Installation, access: dict[str, Any]) -> str:
    """Compose what the user reads once everything runs."""
    lines = [
        "",
        "Tollway is running.",
        "",
        f"  Portal     {installation.portal_url}",
        f"  Gateway    {installation.gateway_url}",
        f"  Data       {installation.data}",
        "",
        "  Sign in as",
        *(
            f"    {who['role']:<10} {who['email']:<28} {who['password']}"
            for who in access["logins"]
        ),
        "",
        f"  A working test key   {access['test_key']}",
        "",
        "  Try it",
        f"    curl -i {installation.gateway_url}{access['path']} "
        f"-H 'X-API-Key: {access['test_key']}'",
        "",
        "  Ctrl-C stops everything; the data stays.",
        "",
    ]
    return "\n".join(lines)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def run(mode: str, data: Path, *, once: bool, days: int) -> None:
    installation = Installation(
        mode=mode,
        data=data.resolve(),
        ports=Ports.from_environment(),
        workers=1 if mode == "embedded" else 2,
    )
    check_ports(installation.ports)
    installation.prepare()
    with outside_servers(mode, installation.data) as outside:
        installation = replace(installation, outside=outside)
        installation.write_env()
        with running(installation, days=days) as (supervisor, access):
            print(describe(installation, access), flush=True)  # noqa: T201 - for the user
            if not once:
                supervisor.process.wait()


def seed(installation: Installation, *, days: int) -> dict[str, Any]:
    """Seed the demo when the database is empty, and return how to get in."""
    upstream = f"http://{LOOPBACK}:{installation.ports.upstream}"
    command = ["-m", "deploy.demo.seed", "--data", str(installation.data)]
    printed = run_tool(
        [*command, "--upstream", upstream, "--days", str(days)],
        installation.control_plane(),
        "The demo could not be seeded.",
    )
    access: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return access


def replay(installation: Installation) -> None:
    """Play the demo's past through the gateway, until the clock has reached today."""
    print("Playing the demo's last month through the gateway ...", flush=True)  # noqa: T201
    run_tool(
        ["-m", "deploy.demo.replay", "--data", str(installation.data)],
        installation.control_plane(),
        "The demo's month could not be played.",
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mode", choices=["embedded", "stack"], default="embedded")
    parser.add_argument("--data", type=Path, default=ROOT / "data")
    parser.add_argument("--once", action="store_true", help="start, print, stop (for tests)")
    parser.add_argument(
        "--days", type=int, default=DAYS, help="of the demo's past to play at the first start"
    )
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        run(options.mode, options.data, once=options.once, days=options.days)
    except StartError as error:
        print(f"\n{error}", file=sys.stderr)  # noqa: T201
        return 1
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
