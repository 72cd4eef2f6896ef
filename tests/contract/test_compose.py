"""`docker-compose.yml`, which nothing here can run, held to the code that its containers run.

The settings are read by the real settings modules, the commands are looked up where the image
would find them, and volumes, secrets, variables and health checks refer to what exists.
"""

import importlib.util
import json
import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import pytest
import yaml
from django.urls import resolve

from gateway import config as gateway_config
from gateway.contracts.environment import FILE_SUFFIX, PREFIXES, SettingsError
from metering import config as metering_config
from metering.__main__ import _parser as metering_parser
from portal.celery import app as celery_app
from portal.settings import env as portal_env
from tests.contract.compose import (
    EXAMPLE,
    FILE,
    ROOT,
    InterpolationError,
    example_values,
    interpolate,
    read,
    seconds,
    variables,
)
from tests.contract.settings_fields import FAMILIES

CONTROL = ("migrate", "portal", "worker", "beat")
DATA = ("gateway", "shipper")
METERING = ("migrate-clickhouse", "sink")
OURS = (*CONTROL, *DATA, *METERING)
ENDS_BY_ITSELF = ("migrate", "migrate-clickhouse")
NO_PORT_TO_ASK = ("beat", "shipper")
"""They serve nothing; the runtime restarts them when they end."""
SECRETS = {
    "secret_key": "s" * 50,
    "gateway_token": "tw_gw_token",
    "database_url": "postgres://tollway:p@postgres:5432/tollway",
    "clickhouse_url": "http://tollway:p@clickhouse:8123/tollway",
    "clickhouse_readonly_url": "http://tollway_reader:p@clickhouse:8123/tollway",
    "stripe_secret_key": "sk_live_key",
    "stripe_webhook_secrets": "whsec_one,whsec_two",
    "email_url": "smtp://u:p@mail.example.com:587",
}


@pytest.fixture(name="compose", scope="module")
def read_compose() -> dict[str, Any]:
    return read()


def _environment(compose: dict[str, Any], service: str, folder: Path) -> dict[str, str]:
    """Return what a container gets, its secrets as files in `folder`."""
    given: dict[str, str] = compose["services"][service]["environment"]
    mounted = compose["services"][service].get("secrets", [])
    found = {}
    for name, value in given.items():
        if value.startswith("/run/secrets/"):
            secret = value.removeprefix("/run/secrets/")
            assert secret in mounted, f"{service} reads {secret} and does not mount it"
            path = folder / secret
            path.write_text(SECRETS[secret] + "\n")
            found[name] = str(path)
        else:
            found[name] = value
    return found


def _load(service: str, environ: dict[str, str]) -> Any:
    if service in CONTROL:
        return portal_env.load(environ)
    if service in DATA:
        return gateway_config.load(environ)
    values = metering_config.read_environment(environ)
    if service == "sink":
        return metering_config.read_sink_settings(values)
    return metering_config.clickhouse_url(values)


def _family(service: str) -> str:
    if service in CONTROL:
        return "portal"
    return "gateway" if service in DATA else "metering"


def test_the_file_fits_the_compose_specification() -> None:
    """The schema is compose-go's own; `.ci/run` fetches that module and names the file."""
    schema = os.environ.get("TOLLWAY_COMPOSE_SCHEMA")
    if not schema:
        pytest.skip("compose-spec.json: set TOLLWAY_COMPOSE_SCHEMA to its path")
    jsonschema.validate(yaml.safe_load(FILE.read_text()), json.loads(Path(schema).read_text()))


def test_every_process_of_the_product_is_there(compose: dict[str, Any]) -> None:
    servers = {"postgres", "redis", "kafka", "clickhouse"}
    assert set(compose["services"]) == {*OURS, *servers}


@pytest.mark.parametrize("service", OURS)
def test_the_settings_module_takes_the_environment(
    compose: dict[str, Any], service: str, tmp_path: Path
) -> None:
    environ = _environment(compose, service, tmp_path)
    assert environ["TOLLWAY_MODE"] == "production"
    assert _load(service, environ)


@pytest.mark.parametrize("service", OURS)
def test_every_variable_is_one_that_the_process_reads(
    compose: dict[str, Any], service: str
) -> None:
    known = FAMILIES[_family(service)]
    for name in compose["services"][service]["environment"]:
        assert name.startswith(PREFIXES), name
        assert name.removesuffix(FILE_SUFFIX) in known, f"{service} does not read {name}"


def _required() -> Iterator[tuple[str, str]]:
    for service, names in {
        "portal": (
            "TOLLWAY_SECRET_KEY_FILE", "TOLLWAY_GATEWAY_TOKEN_FILE", "DATABASE_URL_FILE",
            "REDIS_URL", "KAFKA_BOOTSTRAP_SERVERS", "CLICKHOUSE_URL_FILE", "EMAIL_URL_FILE",
            "STRIPE_SECRET_KEY_FILE", "STRIPE_WEBHOOK_SECRETS_FILE",
        ),
        "gateway": ("TOLLWAY_GATEWAY_TOKEN_FILE", "REDIS_URL", "KAFKA_BOOTSTRAP_SERVERS"),
        "sink": ("KAFKA_BOOTSTRAP_SERVERS", "CLICKHOUSE_URL_FILE"),
        "migrate-clickhouse": ("CLICKHOUSE_URL_FILE",),
    }.items():  # fmt: skip
        yield from ((service, name) for name in names)


@pytest.mark.parametrize(("service", "name"), tuple(_required()))
def test_half_set_production_is_refused(
    compose: dict[str, Any], service: str, name: str, tmp_path: Path
) -> None:
    environ = _environment(compose, service, tmp_path)
    del environ[name]
    with pytest.raises(SettingsError, match=name.removesuffix(FILE_SUFFIX)):
        _load(service, environ)


def test_problem_documents_link_to_the_public_address(
    compose: dict[str, Any], tmp_path: Path
) -> None:
    settings = gateway_config.load(_environment(compose, "gateway", tmp_path))
    assert settings.errors_url == "https://portal.example.com/docs/errors"
    assert resolve(urlsplit(settings.errors_url).path).url_name == "docs_errors"


def test_variables_are_in_the_example_and_only_those() -> None:
    listed = re.findall(r"^#? ?([A-Z][A-Z_]+)=(.*)$", EXAMPLE.read_text(), re.MULTILINE)
    used = variables(FILE.read_text())
    assert {name for name, _ in listed} == set(used)
    for name, value in listed:
        if used[name].startswith(":-") and name not in example_values() and value:
            assert value == used[name].removeprefix(":-")


def test_what_must_be_set_is_asked_for() -> None:
    required = {n for n, rule in variables(FILE.read_text()).items() if rule.startswith(":?")}
    assert required == {
        "TOLLWAY_PORTAL_URL", "TOLLWAY_GATEWAY_URL", "TOLLWAY_ALLOWED_HOSTS", "EMAIL_FROM",
        "TOLLWAY_SELLER_NAME",
    }  # fmt: skip
    for name in required:
        with pytest.raises(InterpolationError, match=name):
            read({k: v for k, v in example_values().items() if k != name})


def test_interpolation_reads_as_compose_does() -> None:
    values = {"SET": "x"}
    assert interpolate("${SET}${UNSET}-${UNSET:-d}-$$HOME", values) == "x-d-$HOME"
    with pytest.raises(InterpolationError):
        interpolate("$SET", values)


def test_references_exist(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for name, service in services.items():
        for needed, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in services[needed], f"{name} waits for {needed}"
            if how["condition"] == "service_completed_successfully":
                assert services[needed]["restart"] == "no"
        assert set(service.get("secrets", [])) <= set(compose["secrets"])
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (ROOT / source).exists()
            else:
                assert source in compose["volumes"]
    mounted = {s for service in services.values() for s in service.get("secrets", [])}
    assert mounted == set(compose["secrets"])


def test_what_must_survive_lies_on_a_volume(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for name in (*DATA, "portal", "worker"):
        data_dir = services[name]["environment"].get("TOLLWAY_DATA_DIR", "/data")
        assert any(v.endswith(f":{data_dir}") for v in services[name]["volumes"]), name
    assert services["gateway"]["volumes"] == services["shipper"]["volumes"]  # one spool
    kafka = services["kafka"]
    assert kafka["volumes"] == [f"kafka-data:{kafka['environment']['KAFKA_LOG_DIRS']}"]
    for name, folder in {
        "postgres": "/var/lib/postgresql",
        "redis": "/data",
        "clickhouse": "/var/lib/clickhouse",
    }.items():
        assert f"{name}-data:{folder}" in services[name]["volumes"]
    assert "--appendonly yes" in " ".join(services["redis"]["command"])


def test_stopping_leaves_time_to_end_in_order(compose: dict[str, Any], tmp_path: Path) -> None:
    services = compose["services"]
    for name in services:
        if name not in (*ENDS_BY_ITSELF, "beat", "redis"):
            assert seconds(services[name]["stop_grace_period"]) >= 30, name
    settings = gateway_config.load(_environment(compose, "gateway", tmp_path))
    assert seconds(services["gateway"]["stop_grace_period"]) > settings.stop_grace_s + 10


def test_commands_exist(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for name in OURS:
        for command in _commands(services[name]):
            _check_command(command)
    assert services["migrate-clickhouse"]["command"][-1] == "migrate"


def _commands(service: dict[str, Any]) -> Iterator[list[str]]:
    command = service.get("command") or _dockerfile_command()
    if command[:2] == ["sh", "-c"]:
        yield from (part.split() for part in command[2].split(" && "))
    else:
        yield command
    test = service.get("healthcheck", {}).get("test", [])
    if test:
        yield test[1:] if test[0] == "CMD" else test[1].split()


def _dockerfile_command() -> list[str]:
    last = (ROOT / "Dockerfile").read_text().strip().splitlines()[-1]
    command = json.loads(last.removeprefix("CMD "))
    return [str(part) for part in command]


def _check_command(command: list[str]) -> None:
    if command[:2] == ["python", "-m"]:
        package = "." not in command[2]
        assert importlib.util.find_spec(f"{command[2]}.__main__" if package else command[2])
        if command[2] == "metering":
            metering_parser().parse_args(command[3:])
    elif command[:2] == ["python", "manage.py"]:
        assert command[2] in {"migrate", "collectstatic"}
    elif command[0] == "celery":
        assert command[1:3] == ["-A", "portal.celery"]
        assert celery_app.main == "tollway"
    else:
        module, _, attribute = command[1].partition(":")
        assert command[0] == "uvicorn"
        assert hasattr(importlib.import_module(module), attribute)


def test_health_is_asked_where_it_is_served(compose: dict[str, Any], tmp_path: Path) -> None:
    services = compose["services"]
    for name in services:
        assert ("healthcheck" in services[name]) != (name in (*ENDS_BY_ITSELF, *NO_PORT_TO_ASK))
    portal = urlsplit(services["portal"]["healthcheck"]["test"][-1])
    command = _dockerfile_command()
    assert str(portal.port) == command[command.index("--port") + 1]
    assert resolve(portal.path).url_name == "readyz"
    gateway = gateway_config.load(_environment(compose, "gateway", tmp_path))
    asked = urlsplit(services["gateway"]["healthcheck"]["test"][-1])
    assert (asked.port, asked.path) == (gateway.private_port, "/readyz")
    sink = _load("sink", _environment(compose, "sink", tmp_path))
    asked = urlsplit(services["sink"]["healthcheck"]["test"][-1])
    assert (asked.port, asked.path) == (sink.metrics_port, "/metrics")


def test_published_ports_are_the_two_doors(compose: dict[str, Any], tmp_path: Path) -> None:
    gateway = gateway_config.load(_environment(compose, "gateway", tmp_path))
    published = {n: s["ports"] for n, s in compose["services"].items() if "ports" in s}
    assert published == {"portal": ["8000:8000"], "gateway": [f"{gateway.port}:{gateway.port}"]}


def test_the_two_clickhouse_users_are_those_of_metering(compose: dict[str, Any]) -> None:
    users = ET.parse(ROOT / "deploy/clickhouse/users.xml").getroot().find("users")  # noqa: S314
    assert users is not None
    assert [user.tag for user in users] == [metering_config.READER]
    environment = compose["services"]["clickhouse"]["environment"]
    assert environment["CLICKHOUSE_USER"] == metering_config.WRITER
    password = users[0].find("password")
    assert password is not None
    script = compose["services"]["clickhouse"]["entrypoint"][-1]
    assert f"export {password.attrib['from_env']}=" in script
    assert urlsplit(SECRETS["clickhouse_url"]).path == f"/{environment['CLICKHOUSE_DB']}"


def test_image_tags_are_pinned(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        if name not in OURS:
            assert re.search(r":\d+(\.\d+)*$", service["image"]), service["image"]
    bases = re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert len(bases) == 2
    assert all(re.fullmatch(r"python:3\.\d+-slim-\w+", base) for base in bases)


def test_the_dockerfile_copies_what_exists_and_runs_unprivileged() -> None:
    text = (ROOT / "Dockerfile").read_text()
    copied = re.findall(r"^COPY (?!--from)(\S+) ", text, re.MULTILINE)
    assert {"gateway", "metering", "portal", "billing", "templates", "static"} <= set(copied)
    for source in copied:
        assert (ROOT / source).exists(), source
    users = re.findall(r"^USER (\S+)", text, re.MULTILINE)
    assert users
    assert int(users[-1]) > 0
    assert text.index("\nUSER ") > text.rindex("\nRUN ")
    settings = re.search(r"DJANGO_SETTINGS_MODULE=(\S+)", text)
    assert settings is not None
    assert importlib.util.find_spec(settings[1])
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {".env", "secrets"} <= set(ignored)
    assert not {s.split("/")[0] for s in copied} & set(ignored)
