"""The verdict of the crash test finds every kind of fault that is planted."""

from collections import Counter

import pytest

from tests.integration.crash.clients import Answer, Call, Verdict
from tests.integration.crash.verdict import Log, undecided, violations

CALL = Call("ok", "/v1/status/200", "key")
ANSWERS = [
    Answer("a", CALL, Verdict.OK, 200),
    Answer("b", CALL, Verdict.FAIL, 404),
    Answer("c", CALL, Verdict.FAIL, 500),
    Answer("d", CALL, Verdict.FAIL, 429),
    Answer("e", CALL, Verdict.INFO),
    Answer("f", CALL, Verdict.INFO),
]
ROWS = {("a", "billed"): 1, ("b", "counted"): 1, ("c", "free"): 1, ("e", "billed"): 1}
SEEN = {"a": 1, "b": 1, "c": 1, "e": 1}


def log_of(
    rows: dict[tuple[str, str], int], final: dict[tuple[str, str], int] | None = None
) -> Log:
    return Log(Counter(rows), Counter(rows if final is None else final), 0, {})


def test_a_whole_log_is_clean() -> None:
    assert violations(ANSWERS, log_of(ROWS), SEEN) == []
    assert undecided(ANSWERS, log_of(ROWS), SEEN).reached == 1


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ({k: v for k, v in ROWS.items() if k[0] != "a"}, "is None, not billed"),
        ({k: v for k, v in ROWS.items() if k[0] != "b"}, "is None, not counted"),
        (ROWS | {("a", "billed"): 2}, "stored 2 times"),
        (ROWS | {("a", "free"): 1}, "one id with two charges"),
        (ROWS | {("d", "billed"): 1}, "is billed, not free"),
        (ROWS | {("f", "billed"): 1}, "the upstream never saw it"),
        (ROWS | {("x", "billed"): 1}, "was never sent"),
    ],
)
def test_a_planted_fault_is_found(rows: dict[tuple[str, str], int], says: str) -> None:
    assert any(says in found for found in violations(ANSWERS, log_of(rows), SEEN))


def test_rows_that_only_the_merge_removes_are_found() -> None:
    assert violations(ANSWERS, log_of(ROWS | {("e", "billed"): 2}, ROWS), SEEN)
