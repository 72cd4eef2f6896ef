"""Reading a spool folder: growth, torn tails, damage that is found, named and stepped over."""

import random
from pathlib import Path

import pytest

from gateway.contracts.spool import Position
from metering.core.rows import Lines, Lost, merge
from metering.spool_reader import StreamReader, publish_durable, read_sidecar
from tests.factories.access_log import StreamWriter
from tests.factories.spool_files import SpoolWriter

LOTS = 1 << 30


def written(folder: Path, *, segments: int = 3, blocks: int = 4, events: int = 5) -> SpoolWriter:
    spool = SpoolWriter(folder, StreamWriter())
    for _ in range(segments):
        spool.new_segment()
        for _ in range(blocks):
            for _ in range(events):
                spool.events.event()
            spool.block()
    spool.sync()
    return spool


def read_all(
    spool: SpoolWriter, *, next_seq: int = 1, bytes_max: int = LOTS
) -> list[Lines | Lost]:
    reader = StreamReader(spool.folder, next_seq=next_seq)
    parts: list[Lines | Lost] = []
    while read := reader.read(bytes_max=bytes_max):
        parts.extend(read)
    return list(merge(parts))


@pytest.mark.parametrize("bytes_max", [1, 1500, LOTS])
def test_every_line_comes_once_and_unchanged(bytes_max: int, tmp_path: Path) -> None:
    spool = written(tmp_path)
    [lines] = read_all(spool, bytes_max=bytes_max)
    assert isinstance(lines, Lines)
    assert (lines.first_seq, lines.lines) == (1, tuple(spool.events.lines))


@pytest.mark.parametrize("next_seq", [1, 3, 20, 21, 38, 60])
def test_reading_starts_at_any_seq(next_seq: int, tmp_path: Path) -> None:
    spool = written(tmp_path)
    [lines] = read_all(spool, next_seq=next_seq)
    assert isinstance(lines, Lines)
    assert (lines.first_seq, lines.last_seq) == (next_seq, 60)


def test_nothing_beyond_the_mark_is_read(tmp_path: Path) -> None:
    spool = written(tmp_path, segments=1)
    reader = StreamReader(spool.folder, next_seq=1)
    assert reader.read(bytes_max=LOTS)
    spool.events.event()
    spool.block()
    with spool.path.open("ab") as file:
        file.write(b"TWBKtorn")
    assert reader.read(bytes_max=LOTS) == []
    spool.mark(Position(1, spool.path.stat().st_size - 8, 21))
    [lines] = reader.read(bytes_max=LOTS)
    assert (lines.first_seq, lines.last_seq) == (21, 21)
    assert reader.position == Position(1, spool.path.stat().st_size - 8, 21)


def test_a_new_segment_is_followed(tmp_path: Path) -> None:
    spool = written(tmp_path, segments=1)
    reader = StreamReader(spool.folder, next_seq=1)
    reader.read(bytes_max=LOTS)
    spool.new_segment()
    spool.events.event()
    spool.block()
    spool.sync()
    [lines] = reader.read(bytes_max=LOTS)
    assert lines.first_seq == 21
    assert reader.position.segment == 21


def test_no_mark_and_a_torn_mark_mean_not_yet(tmp_path: Path) -> None:
    spool = written(tmp_path, segments=1)
    mark = spool.folder / "synced"
    whole = mark.read_bytes()
    mark.write_bytes(whole[:-1] + b"\x00")
    reader = StreamReader(spool.folder, next_seq=1)
    assert reader.read(bytes_max=LOTS) == []
    mark.unlink()
    assert reader.read(bytes_max=LOTS) == []
    mark.write_bytes(whole)
    assert reader.read(bytes_max=LOTS)


def test_deleted_segments_leave_the_reader_stuck_and_say_so(tmp_path: Path) -> None:
    spool = written(tmp_path)
    (spool.folder / "00000000000000000001.seg").unlink()
    reader = StreamReader(spool.folder, next_seq=1)
    assert reader.read(bytes_max=LOTS) == []
    assert reader.stuck


@pytest.mark.parametrize(
    ("case", "place"), [("block head", 0), ("line", 60), ("checksum", -1), ("block length", 4)]
)
def test_a_damaged_block_is_lost_and_the_rest_is_read(
    case: str, place: int, tmp_path: Path
) -> None:
    spool = written(tmp_path, segments=1, blocks=1)
    begin = spool.path.stat().st_size
    spool.events.event()
    spool.events.event()
    end = spool.block()
    spool.events.event()
    spool.block()
    spool.sync()
    spool.damage(end - 1 if place < 0 else begin + place)
    before, lost, after = read_all(spool)
    assert isinstance(lost, Lost)
    assert (lost.first_seq, lost.last_seq, lost.reason) == (6, 7, "spool is damaged here")
    assert lost.raw
    assert (before.last_seq, after.first_seq, after.last_seq) == (5, 8, 8)


def test_damage_at_the_mark_and_in_a_header_is_found(tmp_path: Path) -> None:
    spool = written(tmp_path, segments=2, blocks=1)
    spool.damage(3)
    [lines] = read_all(spool)
    assert lines.last_seq == 10, "a block needs no header"
    spool.damage(spool.path.stat().st_size - 1)
    first, lost = read_all(spool)
    assert (first.last_seq, lost.first_seq, lost.last_seq) == (5, 6, 10)


def test_a_block_that_lies_about_its_lines_is_lost(tmp_path: Path) -> None:
    spool = written(tmp_path, segments=1, blocks=1)
    spool.block([b"{}\n", b"{}\n"], count=3)
    spool.written += 1
    spool.sync()
    _, lost = read_all(spool)
    assert isinstance(lost, Lost)
    assert (lost.first_seq, lost.last_seq) == (6, 8)


@pytest.mark.parametrize("seed", range(25))
def test_random_flips_lose_only_what_they_hit(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    spool = written(tmp_path)
    for segment in rng.sample([1, 21, 41], 2):
        spool.segment = segment
        spool.damage(rng.randrange(spool.path.stat().st_size))
    spool.segment = 41
    parts = read_all(spool, bytes_max=rng.choice([1, 3000, LOTS]))
    seqs = [seq for part in parts for seq in range(part.first_seq, part.last_seq + 1)]
    assert seqs == list(range(1, 61)), "each seq once: read, or lost by name"
    for part in parts:
        if isinstance(part, Lines):
            assert part.lines == tuple(spool.events.lines[part.first_seq - 1 : part.last_seq])
    assert (
        sum(part.last_seq - part.first_seq + 1 for part in parts if isinstance(part, Lost)) <= 10
    )


def test_durable_is_what_a_sidecar_reads_back(tmp_path: Path) -> None:
    for position in (Position(1, 2, 3), Position(40, 5, 60)):
        publish_durable(tmp_path, position)
        assert read_sidecar(tmp_path / "durable") == position
