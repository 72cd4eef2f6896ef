"""Which processes make up an installation, and the supervisor configuration for them."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

from deploy.installation import LOOPBACK, ROOT, Installation


@dataclass(frozen=True, slots=True)
class Process:
    """One supervised process.

    wave   0 starts first (needs nothing of ours), 1 when the databases are migrated
    ready  URL that answers 200 when the process is useful; empty = running is enough
    """

    name: str
    command: tuple[str, ...]
    environment: dict[str, str] = field(repr=False)
    wave: int
    ready: str = ""
    count: int = 1


def processes(installation: Installation) -> list[Process]:
    """Return every process of the installation, in the order of their start."""
    ports, data, python = installation.ports, installation.data, sys.executable
    control, metering = installation.control_plane(), installation.metering()
    celery = (python, "-m", "celery", "-A", "portal.celery")
    found = [
        Process(
            "clickhouse",
            (python, "-m", "metering", "embedded", "--host", LOOPBACK, "--port",
             str(ports.clickhouse), "--data", str(data / "clickhouse")),
            metering, 0, f"http://{LOOPBACK}:{ports.clickhouse}/ping",
        ),
        Process(
            "stripe",
            (
                python,
                "-m",
                "billing.payments.sandbox",
                "--host",
                LOOPBACK,
                "--port",
                str(ports.stripe),
                "--data",
                str(data / "stripe"),
                "--webhook-url",
                f"{installation.portal_url}/webhooks/stripe",
            ),
            {
                "STRIPE_SECRET_KEY_FILE": control["STRIPE_SECRET_KEY_FILE"],
                "STRIPE_WEBHOOK_SECRETS_FILE": control["STRIPE_WEBHOOK_SECRETS_FILE"],
            },
            0,
            f"{installation.stripe_url}/healthz",
        ),
        Process(
            "upstream",
            (python, "-m", "deploy.demo.upstream", "--port", str(ports.upstream)),
            {}, 0, f"http://{LOOPBACK}:{ports.upstream}/healthz",
        ),
        Process(
            "portal",
            (python, "-m", "uvicorn", "portal.asgi:application", "--host", LOOPBACK, "--port",
             str(ports.portal), "--log-level", "warning", "--timeout-graceful-shutdown", "2"),
            control, 1, f"{installation.portal_url}/livez",
        ),
        Process("worker", (*celery, "worker", "--concurrency", "2", "--loglevel", "warning"),
                control, 1),
        Process("beat", (*celery, "beat", "--loglevel", "warning", "--schedule",
                         str(data / "celery" / "schedule")), control, 1),
        Process(
            "gateway", (python, "-m", "gateway"), installation.data_plane(), 1,
            f"http://{LOOPBACK}:{ports.private}/readyz",
        ),
        Process("sink", (python, "-m", "metering", "sink"), metering, 1,
                count=2 if installation.outside.kafka else 1),
    ]  # fmt: skip
    if installation.outside.kafka:
        found.append(
            Process("shipper", (python, "-m", "gateway", "shipper"), installation.data_plane(), 1)
        )
    return found


def _quote(value: str) -> str:
    return '"' + value.replace("%", "%%").replace('"', '\\"') + '"'


def supervisor_config(installation: Installation, *, socket: Path) -> str:
    """Write the configuration of `supervisord`; programs start by request and restart."""
    logs = installation.data / "logs"
    parts = [
        f"[unix_http_server]\nfile={socket}\nchmod=0600\n",
        "[supervisord]\nnodaemon=true\nsilent=true\n"
        f"logfile={logs / 'supervisord.log'}\npidfile={socket.parent / 'supervisord.pid'}\n"
        f"directory={ROOT}\n",
        "[rpcinterface:supervisor]\n"
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n",
        f"[supervisorctl]\nserverurl=unix://{socket}\n",
    ]
    for process in processes(installation):
        environment = ",".join(f"{k}={_quote(v)}" for k, v in process.environment.items())
        command = " ".join(_quote(part) for part in process.command)
        name = "%(program_name)s"
        numbers = ""
        if process.count > 1:
            name = "%(program_name)s_%(process_num)d"
            numbers = f"numprocs={process.count}\nprocess_name={name}\n"
        parts.append(
            f"[program:{process.name}]\ncommand={command}\nenvironment={environment}\n"
            f"directory={ROOT}\n{numbers}autostart=false\nautorestart=true\nstartsecs=1\n"
            "startretries=5\nstopwaitsecs=15\nstopasgroup=false\nkillasgroup=true\n"
            f"redirect_stderr=true\nstdout_logfile={logs}/{name}.log\n"
            "stdout_logfile_maxbytes=10MB\nstdout_logfile_backups=2\n"
        )
    return "\n".join(parts)
