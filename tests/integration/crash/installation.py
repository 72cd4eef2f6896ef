"""A whole installation for the crash test: real portal, gateway, shipper, sinks and ClickHouse.

Commands and settings are those of `make up` and `make stack` (`deploy.processes`); the portal gets
its API, plans and customers by `config apply`.
"""

import subprocess
import sys
import urllib.request
from functools import partial
from typing import Any, Final

import yaml

from deploy.installation import Installation
from deploy.processes import processes
from deploy.up import answers
from gateway.contracts.api_keys import build_key, key_hash
from tests.gateway_process import ROOT
from tests.integration.crash.supervised import Supervised, clean_environment
from tests.waiting import eventually_sync

PARTS: Final = ("clickhouse", "portal", "gateway", "sink", "shipper")
LARGE: Final = build_key("live", bytes(range(32)))
SMALL: Final = build_key("live", bytes(range(1, 33)))
SMALL_QUOTA: Final = 400
_CLOCK: Final = {"TOLLWAY_CLOCK": "real"}
_UP_WITHIN_S: Final = 90


def configuration(upstream_url: str) -> dict[str, Any]:
    """Write what an admin would: an API, a plan that goes on, one that blocks, two customers."""
    return {
        "version": 1,
        "upstreams": [{"name": "crash", "targets": {upstream_url: 1}}],
        "apis": [
            {
                "slug": "crash", "name": "Crash", "is_published": True,
                "routes": [
                    {"name": "status", "path": "/v1/status/{status}", "methods": ["GET"],
                     "upstream": "crash"},
                    {"name": "echo", "path": "/v1/echo", "methods": ["POST"], "upstream": "crash"},
                    {"name": "slow", "path": "/v1/slow", "methods": ["GET"], "upstream": "crash"},
                ],
            }
        ],
        "plans": [
            _plan("large", rank=2, quota=1_000_000, block_at_percent=0),
            _plan("small", rank=1, quota=SMALL_QUOTA, block_at_percent=100),
        ],
        "organizations": [_organization("large", LARGE), _organization("small", SMALL)],
    }  # fmt: skip


def _plan(slug: str, *, rank: int, quota: int, block_at_percent: int) -> dict[str, Any]:
    limits = {
        "quotas": [{"meter": "requests", "quota": quota, "block_at_percent": block_at_percent}]
    }
    prices = [{"key": "base", "model": "flat", "amount": "1.00"}]
    return {
        "slug": slug, "name": slug.title(), "rank": rank, "apis": ["crash"],
        "versions": [{"number": 1, "published": True, "currency": "USD",
                      "terms": {"prices": prices}, "limits": limits}],
    }  # fmt: skip


def _organization(slug: str, key: str) -> dict[str, Any]:
    credential = {
        "name": "app", "environment": "live", "key_hash": key_hash(key), "prefix": key[:12],
        "last4": key[-4:],
    }  # fmt: skip
    consumer = {"username": f"{slug}-app", "name": "App", "credentials": [credential]}
    return {
        "slug": slug, "name": slug.title(), "consumers": [consumer],
        "subscriptions": [{"plan": slug, "version": 1}],
    }  # fmt: skip


class Running:
    """The installation's processes under supervision."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.worker_ends = 0
        self._parts: dict[str, Supervised] = {}
        self._ready: dict[str, str] = {}
        installation.prepare()
        for process in processes(installation):
            if process.name not in PARTS:
                continue
            self._ready[process.name] = process.ready
            for number in range(process.count):
                name = process.name if process.count == 1 else f"{process.name}-{number}"
                self._parts[name] = Supervised(
                    name, process.command, {**process.environment, **_CLOCK},
                    log=installation.data / "logs" / f"{name}.log",
                )  # fmt: skip

    def __getitem__(self, name: str) -> Supervised:
        return self._parts[name]

    def start(self, upstream_url: str) -> None:
        """Start the upstream, bring the databases to life, configure, start the rest."""
        self["clickhouse"].start()
        eventually_sync(partial(answers, self._ready["clickhouse"]), within_s=_UP_WITHIN_S)
        file = self.installation.data / "crash.yaml"
        file.write_text(yaml.safe_dump(configuration(upstream_url)))
        control = {**self.installation.control_plane(), **_CLOCK}
        _run(["manage.py", "migrate", "-v0"], control)
        _run(["-m", "metering", "migrate"], self.installation.metering())
        _run(["manage.py", "config", "apply", str(file)], control)
        for name, part in self._parts.items():
            if name != "clickhouse":
                part.start()
        self.wait_for_gateway()

    def wait_for_gateway(self) -> None:
        """Return once every worker takes requests."""
        ports = [self.installation.ports.private + i for i in range(self.installation.workers)]
        eventually_sync(
            lambda: all(answers(f"http://127.0.0.1:{port}/readyz") for port in ports),
            within_s=_UP_WITHIN_S,
        )

    def kill(self, target: str) -> None:
        """Kill a part by name; `worker-N` is a child of the gateway."""
        if target.startswith("worker-"):
            if self["gateway"].kill_child(int(target.removeprefix("worker-"))):
                self.worker_ends += self.installation.workers
                return
            target = "gateway"
        if target == "gateway":
            self.worker_ends += self.installation.workers
        self[target].kill()

    def verify_usage(self) -> tuple[int, str]:
        """Run `manage.py verify_usage`: its exit code, and what it said."""
        control = {**self.installation.control_plane(), **_CLOCK}
        return _run(["manage.py", "verify_usage"], control, check=False)

    def close(self) -> None:
        for part in reversed(self._parts.values()):
            part.close()

    @property
    def unexpected_ends(self) -> dict[str, list[int]]:
        """Exit codes of what ended without being killed."""
        found = {name: [e for e in part.ends if e != -9] for name, part in self._parts.items()}
        return {name: ends for name, ends in found.items() if ends}

    @property
    def tails(self) -> str:
        return "\n".join(part.tail for part in self._parts.values())


def _run(
    command: list[str], environment: dict[str, str], *, check: bool = True
) -> tuple[int, str]:
    """Run one of our own programs to its end: its exit code, and what it said."""
    done = subprocess.run(  # noqa: S603 - our own interpreter and modules
        [sys.executable, *command], cwd=ROOT, env=clean_environment(environment),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 0 or not check, said
    return done.returncode, said


def start_upstream(port: int) -> subprocess.Popen[bytes]:
    """Start the upstream and return when it answers."""
    process = subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-m", "tests.integration.crash.upstream", str(port)], cwd=ROOT
    )
    eventually_sync(partial(answers, f"http://127.0.0.1:{port}/seen"), within_s=30)
    return process


def read(url: str, *, key: str = "") -> bytes:
    request = urllib.request.Request(url, headers={"X-API-Key": key} if key else {})  # noqa: S310
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310 - loopback
        body: bytes = response.read()
        return body
