"""`/docs/errors` lists every code that any side answers with, and no other."""

import importlib
import json
import pkgutil
import re
from collections.abc import Iterator

import pytest
from django.test import Client

import billing
import metering
import portal
from billing.errors import BillingError
from billing.views.error_codes import error_sections
from billing.views.error_remedies import REMEDIES
from gateway.contracts.problems import PROBLEMS
from gateway.core.problems import problem_body
from metering.errors import MeteringError
from portal.api.problems import API_CODES
from portal.errors import PortalError
from portal.views.internal import POLL_PROBLEMS, SnapshotDoor

BASES = (PortalError, BillingError, MeteringError)


def _everything_imported() -> None:
    for package in (portal, billing, metering):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not re.search(r"\.(migrations|settings|__main__)(\.|$)|wsgi$", module.name):
                importlib.import_module(module.name)


def _raised(kind: type[Exception]) -> Iterator[str]:
    yield str(vars(kind).get("code") or getattr(kind, "code", ""))
    for child in kind.__subclasses__():
        yield from _raised(child)


@pytest.mark.django_db
def test_every_code_is_an_anchor_and_nothing_else(client: Client) -> None:
    _everything_imported()
    polls = (code for code, _ in POLL_PROBLEMS.values())
    codes = {*PROBLEMS, *polls, *API_CODES.values()}
    for base in BASES:
        codes |= set(_raised(base))
    page = client.get("/docs/errors").content.decode()
    assert sorted(re.findall(r'<article class="card" id="(\w+)"', page)) == sorted(codes)


def test_every_code_has_a_remedy_and_every_remedy_a_code() -> None:
    entries = [entry for section in error_sections() for entry in section.entries]
    assert {entry.code for entry in entries} == set(REMEDIES)
    assert all(str(entry.remedy) and entry.meaning and entry.status >= 400 for entry in entries)
    assert not [entry.code for entry in entries if "{" in str(entry.meaning)]  # no blank left


@pytest.mark.django_db
@pytest.mark.parametrize("code", sorted(PROBLEMS))
def test_a_gateway_answer_links_to_its_anchor(client: Client, code: str) -> None:
    page_url = "https://portal.example/docs/errors"
    body = problem_body(PROBLEMS[code], docs_url=page_url, request_id="r", instance="/x")
    path, _, anchor = json.loads(body)["docs_url"].partition("#")
    assert path == page_url
    assert f'id="{anchor}"' in client.get("/docs/errors").content.decode()


async def test_the_portals_own_answer_links_to_its_anchor() -> None:
    sent: list[bytes] = []

    async def send(message: dict[str, object]) -> None:
        sent.append(bytes(message.get("body", b"")))  # type: ignore[call-overload]

    scope = {"type": "http", "method": "GET", "headers": []}
    await SnapshotDoor(token="t")(scope, None, send)  # type: ignore[arg-type]
    problem = json.loads(b"".join(sent))
    assert problem["type"] == f"/docs/errors#{problem['code']}"
