"""`make test` and `make check`: every check in order, each named; the first that fails ends it."""

import argparse
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent


def _steps(*, fast: bool) -> list[tuple[str, list[str]]]:
    money = [*ROOT.glob("portal/core/*.py"), *ROOT.glob("billing/**/*.py")]
    python = sys.executable
    pytest = [python, "-m", "pytest", "-q"]
    quick = ["tests/unit", "tests/contract", "tests/golden", "tests/lint"]
    return [
        ("format", [str(BIN / "ruff"), "format", "--check", "."]),
        ("lint", [str(BIN / "ruff"), "check", "--no-cache", "."]),
        ("imports", [str(BIN / "lint-imports")]),
        ("types", [str(BIN / "mypy"), "."]),
        ("dependencies", [str(BIN / "deptry"), "."]),
        ("money", [python, "tests/lint/money_lint.py", *map(str, money)]),
        (
            "migrations",
            [python, "manage.py", "makemigrations", "--check", "--dry-run",
             "--settings", "portal.settings.test"],
        ),
        ("quick tests", [*pytest, *quick, *(["-m", "not slow"] if fast else [])]),
        # each with a process of its own: brokers' clients and the browser's driver leave threads
        # and event loops behind that are nobody else's business
        *([] if fast else [
            (str(folder), [*pytest, str(folder)]) for folder in _suites()
        ]),
    ]  # fmt: skip


def _suites() -> list[Path]:
    """Return the folders of tests that start servers, the browser's last."""
    folders = sorted(
        path for path in (ROOT / "tests" / "integration").iterdir() if any(path.rglob("test_*.py"))
    )
    return [path.relative_to(ROOT) for path in [*folders, ROOT / "tests" / "e2e"]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fast", action="store_true", help="no servers, no browser")
    options = parser.parse_args()
    for name, command in _steps(fast=options.fast):
        started = time.monotonic()
        print(f"== {name}", flush=True)  # noqa: T201 - a command line tool
        code = subprocess.run(command, cwd=ROOT, check=False).returncode  # noqa: S603
        print(f"== {name}: {time.monotonic() - started:.1f} s", flush=True)  # noqa: T201
        if code:
            print(f"== {name} failed with exit code {code}", file=sys.stderr)  # noqa: T201
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
