"""Part three: documents rated a second, by the command and by the pure function alone."""

import json
import subprocess
import sys
import time
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, Final

from billing.rating.rate import answer_document
from tests.bench.arithmetic import spread_of
from tests.bench.report import Figure, InvalidRunError, figures
from tests.unit.billing.rating.generator import documents

ROOT: Final = Path(__file__).resolve().parents[2]
DOCUMENTS: Final = 5_000
_SEED: Final = 2026


def run_rating(
    folder: Path, *, rounds: int, count: int = DOCUMENTS
) -> tuple[list[Figure], list[str]]:
    """Rate generated documents over the whole format; both ways must answer the same."""
    lines = valid_documents(count)
    path, empty = folder / "documents.jsonl", folder / "empty.jsonl"
    path.write_text("".join(lines))
    empty.write_text("")
    wall_s, start_s, pure_s = [], [], []
    for _ in range(rounds):
        taken_s, answers = _command(path)
        start_s.append(_command(empty)[0])
        wall_s.append(taken_s)
        taken_s, expected = _pure(lines)
        pure_s.append(taken_s)
        check_answers(answers, expected)
    return figures("rating", [
        ("manage.py rate --lines, start included", spread_of([count / s for s in wall_s]), "1/s"),
        ("start of the command alone", spread_of(start_s), "s"),
        ("the function alone", spread_of([count / s for s in pure_s]), "1/s"),
    ]), []  # fmt: skip


def valid_documents(count: int) -> list[str]:
    """Return documents that are not to be refused, one a line."""
    valid = (doc for doc, wrong in documents(_SEED, 2 * count + 12) if wrong is None)
    return [json.dumps(doc) + "\n" for doc in islice(valid, count)]


def check_answers(answers: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Hold the command's answers against the function's.

    :raises InvalidRunError: when they differ, or a document was refused.
    """
    if answers != expected:
        raise InvalidRunError("the command and the function rate differently")
    if any("errors" in answer for answer in expected):
        raise InvalidRunError("a document was refused")


def _command(path: Path) -> tuple[float, list[dict[str, Any]]]:
    command = [
        sys.executable, "manage.py", "rate", str(path), "--lines",
        "--settings", "portal.settings.test",
    ]  # fmt: skip
    begun = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    taken_s = time.perf_counter() - begun
    if done.returncode:
        msg = f"manage.py rate ended with {done.returncode}: {done.stderr[-500:]}"
        raise InvalidRunError(msg)
    return taken_s, [json.loads(line) for line in done.stdout.splitlines()]


def _pure(lines: list[str]) -> tuple[float, list[dict[str, Any]]]:
    read = [json.loads(line, parse_float=Decimal) for line in lines]
    begun = time.perf_counter()
    answers = [answer_document(document) for document in read]
    taken_s = time.perf_counter() - begun
    return taken_s, [json.loads(json.dumps(answer)) for answer in answers]
