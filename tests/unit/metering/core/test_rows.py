"""Lines on their way into the log: whole, judged one by one, cut the same way twice."""

from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.core.rows import (
    BlockDamagedError,
    Lines,
    halve,
    line_fault,
    payload,
    read_block,
    sort_out,
    token,
)
from tests.factories.access_log import StreamWriter


def written(count: int = 3) -> Lines:
    stream = StreamWriter()
    for _ in range(count):
        stream.event()
    return Lines(stream.stream, 1, tuple(stream.lines))


def test_a_block_is_cut_into_its_lines_unchanged() -> None:
    whole = written()
    again = read_block(stream=whole.stream, first_seq=1, count=3, payload=payload([whole]))
    assert again == whole


@pytest.mark.parametrize(
    ("case", "count", "data"),
    [("torn", 1, b"{}"), ("too few", 2, b"{}\n"), ("too many", 1, b"{}\n{}\n"), ("none", 1, b"")],
)
def test_a_block_that_is_not_whole_lines_is_refused(case: str, count: int, data: bytes) -> None:
    with pytest.raises(BlockDamagedError):
        read_block(stream="s", first_seq=1, count=count, payload=data)


def test_a_written_line_has_no_fault_and_a_shuffled_one_neither() -> None:
    line = written(1).lines[0]
    assert line_fault(line, stream="node-1.boot-1.0", seq=1) == ""
    head, rest = line[:-2].split(b",", 1)
    shuffled = b"{" + rest + b"," + head[1:] + b"}\n"
    assert line_fault(shuffled, stream="node-1.boot-1.0", seq=1) == ""


@pytest.mark.parametrize(
    ("case", "old", "new", "fault"),
    [
        ("other seq", b'"seq":1', b'"seq":2', "stood at node-1.boot-1.0:1"),
        ("other stream", b'"stream":"node-1', b'"stream":"node-2', "stood at"),
        ("other version", b'"v":"v1"', b'"v":"v9"', "schema version"),
        ("missing field", b'"charge":"billed",', b"", "missing charge"),
        ("null", b'"charge":"billed"', b'"charge":null', "charge"),
        ("unknown kind", b'"kind":"request"', b'"kind":"gift"', "kind"),
        ("no JSON", b"{", b"<", "not JSON"),
    ],
)
def test_a_fault_is_named(case: str, old: bytes, new: bytes, fault: str) -> None:
    line = written(1).lines[0].replace(old, new, 1)
    assert fault in line_fault(line, stream="node-1.boot-1.0", seq=1)


def test_units_finer_than_the_column_are_a_fault() -> None:
    stream = StreamWriter()
    stream.event(quantities={"gb": Decimal("0.123456789012")})
    stream.event(quantities={"gb": Decimal("0.1234567890123")})
    faults = [line_fault(line, stream=stream.stream, seq=i + 1)
              for i, line in enumerate(stream.lines)]  # fmt: skip
    assert faults[0] == ""
    assert "decimal places" in faults[1]


@given(st.lists(st.booleans(), max_size=40))
def test_sorting_out_keeps_every_line_once(good: list[bool]) -> None:
    stream = StreamWriter()
    for fine in good:
        if fine:
            stream.event()
        else:
            stream.append(b"broken\n")
    runs, rejected = sort_out(Lines(stream.stream, 1, tuple(stream.lines)))
    kept = {run.first_seq + i: line for run in runs for i, line in enumerate(run.lines)}
    refused = {one.seq: one.raw for one in rejected}
    assert kept.keys() == {i + 1 for i, fine in enumerate(good) if fine}
    assert {**kept, **refused} == {i + 1: line for i, line in enumerate(stream.lines)}
    assert all(run.last_seq + 1 < nxt.first_seq for run, nxt in pairwise(runs))


@given(st.integers(2, 500), st.integers(1, 10**6))
def test_halving_ends_at_single_lines_and_loses_none(count: int, first: int) -> None:
    parts = [Lines("s", first, tuple(b"%d" % i for i in range(count)))]
    singles: list[Lines] = []
    while parts:
        part = parts.pop()
        if len(part.lines) == 1:
            singles.append(part)
        else:
            parts.extend(reversed(halve(part)))
    assert [single.first_seq for single in singles] == list(range(first, first + count))


def test_tokens_differ_by_range_and_by_order_of_ranges() -> None:
    one, two = Lines("a", 1, (b"x", b"y")), Lines("b", 1, (b"x",))
    assert len({token([one]), token([two]), token([one, two]), token([one.since(2)])}) == 4


def test_cutting_at_a_seq() -> None:
    lines = Lines("s", 5, (b"5", b"6", b"7"))
    assert lines.since(6).lines == (b"6", b"7")
    assert lines.since(1) == lines
    assert lines.until(5).lines == (b"5",)
    assert lines.until(4).lines == ()
