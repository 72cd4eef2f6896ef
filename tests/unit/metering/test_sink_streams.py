"""The Kafka sink's decisions: in any order of blocks each line is accepted once, in seq order."""

from types import SimpleNamespace
from typing import Any

import crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.core.rows import BlockDamagedError, Lines, Range
from metering.sink_streams import (
    METADATA_BYTES_MAX,
    Arrived,
    Noted,
    Streams,
    in_order,
    note_of,
    read_message,
    split_batch,
)


def arrived(first: int, last: int, *, offset: int = 0, stream: str = "s") -> Arrived:
    lines = tuple(b"%d\n" % seq for seq in range(first, last + 1))
    return Arrived(0, offset, Lines(stream, first, lines))


def accepted_seqs(streams: Streams, blocks: list[Arrived]) -> list[int]:
    found = [ready for block in blocks for ready in streams.accept(block)]
    return [int(line) for one in found for line in one.lines.lines]


@given(st.permutations(range(12)), st.data())
def test_every_line_is_accepted_once_and_in_order(order: list[int], data: st.DataObject) -> None:
    blocks = [arrived(i * 3 + 1, i * 3 + 3) for i in order]
    again = data.draw(st.lists(st.sampled_from(blocks), max_size=10))
    streams = Streams({"s": 1})
    assert accepted_seqs(streams, [*blocks, *again]) == list(range(1, 37))
    assert streams.waiting_bytes == 0


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 8)), max_size=30))
def test_overlaps_never_double_and_gaps_are_never_jumped(drawn: list[tuple[int, int]]) -> None:
    streams = Streams({"s": 5})
    blocks = [arrived(first, first + more) for first, more in drawn]
    seqs = accepted_seqs(streams, blocks)
    assert seqs == list(range(5, 5 + len(seqs)))
    assert streams.next_seqs["s"] == 5 + len(seqs)


def test_without_room_what_lies_beyond_a_gap_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metering.sink_streams.WAITING_BYTES_MAX", 4)
    streams = Streams({"s": 1})
    assert accepted_seqs(streams, [arrived(2, 3), arrived(4, 5), arrived(1, 1)]) == [1, 2, 3]
    assert accepted_seqs(streams, [arrived(4, 5)]) == [4, 5]


def test_forgetting_keeps_what_waits_on_partitions_that_stay() -> None:
    streams = Streams({"s": 1, "t": 1})
    streams.accept(arrived(5, 6))
    streams.accept(Arrived(1, 0, Lines("t", 5, (b"x",))))
    streams.forget(keep=[0])
    assert streams.waiting_bytes == 4
    streams.next_seqs.update({"s": 1, "t": 1})
    assert accepted_seqs(streams, [arrived(1, 4)]) == [1, 2, 3, 4, 5, 6]


def test_a_note_reads_back_and_covers_what_waited_at_older_offsets() -> None:
    part = [arrived(4, 6, offset=9), arrived(7, 9, offset=3), arrived(1, 1, offset=8, stream="r")]
    note = note_of(part)
    assert note == Noted(3, 9, (Range("r", 1, 1), Range("s", 4, 9)))
    assert Noted.decode(note.encode()) == note
    assert [lines.last_seq for lines in in_order(part)] == [1, 9]


def test_a_batch_of_many_streams_is_cut_to_what_metadata_holds() -> None:
    batch = [arrived(1, 2, stream=f"node-{i:03d}.{'b' * 40}.0", offset=i) for i in range(200)]
    parts = split_batch(batch)
    assert [one for part in parts for one in part] == batch
    assert len(parts) > 1
    assert all(len(note_of(part).encode()) <= METADATA_BYTES_MAX for part in parts)


def message(**changes: Any) -> SimpleNamespace:
    value = b"a\nb\n"
    headers = {"first_seq": 1, "last_seq": 2, "count": 2, "crc32c": crc32c.crc32c(value)}
    headers.update(changes.pop("headers", {}))
    pairs = [(name, str(number).encode()) for name, number in headers.items()]
    pairs = changes.pop("pairs", pairs)
    return SimpleNamespace(**{"key": b"s", "value": value, "headers": pairs, **changes})


def test_a_whole_message_is_read() -> None:
    assert read_message(message()) == Lines("s", 1, (b"a\n", b"b\n"))


@pytest.mark.parametrize(
    ("case", "changes"),
    [
        ("no key", {"key": None}),
        ("no value", {"value": None}),
        ("no headers", {"pairs": []}),
        ("wrong checksum", {"headers": {"crc32c": 1}}),
        ("wrong count", {"headers": {"count": 3}}),
        ("wrong last seq", {"headers": {"last_seq": 3}}),
        ("no number", {"headers": {"first_seq": "x"}}),
    ],
)
def test_a_message_that_is_no_whole_block_is_refused(case: str, changes: dict[str, Any]) -> None:
    with pytest.raises(BlockDamagedError):
        read_message(message(**changes))
