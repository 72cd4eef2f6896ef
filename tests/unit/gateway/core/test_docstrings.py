"""The examples in the core's docstrings hold."""

import doctest
import importlib
from pathlib import Path

import pytest

import gateway.core

_MODULES = sorted(
    path.stem for path in Path(gateway.core.__path__[0]).glob("*.py") if path.stem != "__init__"
)


@pytest.mark.parametrize("name", _MODULES)
def test_examples_hold(name: str) -> None:
    assert doctest.testmod(importlib.import_module(f"gateway.core.{name}")).failed == 0
