"""The gateway and the pure cores drag no framework along, which import linters cannot see."""

import subprocess
import sys

import pytest

_FORBIDDEN = ("django", "celery", "stripe")
_MODULES = (
    "gateway.app",
    "gateway.core.decision",
    "gateway.core.quota_replay",
    "gateway.contracts.snapshot",
    "metering.core",
    "metering.queries",
    "portal.core.ids",
    "billing.rating",
)


@pytest.mark.parametrize("module", _MODULES)
def test_fresh_interpreter_has_no_framework_after_the_import(module: str) -> None:
    code = f"import sys, {module}; print([n for n in {_FORBIDDEN} if n in sys.modules])"
    run = subprocess.run(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


def test_gateway_core_opens_no_way_out() -> None:
    code = (
        "import sys, gateway.core.decision, gateway.core.quota_replay, gateway.core.request_head;"
        "print([n for n in ('asyncio', 'aiohttp', 'redis', 'pydantic') if n in sys.modules])"
    )
    run = subprocess.run(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"
