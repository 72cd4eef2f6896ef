"""What a boot finds after a crash: torn tails, damage, ends; and writers killed at random."""

import os
import random
from itertools import pairwise
from pathlib import Path

import pytest

from gateway.adapters.spool_files import (
    LOCK_NAME,
    crc,
    read_position,
    segment_files,
    try_lock,
)
from gateway.adapters.spool_recovery import (
    RecoveredStream,
    placeholder_blocks,
    recover_dead_streams,
)
from gateway.contracts.access_log import AccessLogDecodeError, Kind, decode
from gateway.contracts.spool import (
    ZERO_HASH,
    Position,
    decode_blocks,
    decode_segment_header,
    encode_block,
    encode_position,
    encode_segment_header,
    line_hash,
    segment_name,
)
from gateway.core.instants import to_instant
from tests.factories.events import events, request_tail, seqs, synced_lines
from tests.integration.gateway.spool.writer_process import run_and_kill

NOW_US = 1_900_000_000_000_000
STREAM = "n1.b0.0"


def line(seq: int) -> bytes:
    return b'{"v":"v1","stream":"%b","seq":%d,%b' % (STREAM.encode(), seq, request_tail())


def segment(first_seq: int, *, blocks: int, per_block: int, before: bytes) -> tuple[bytes, bytes]:
    """Build a segment's bytes; returns them and the running hash behind it."""
    data = encode_segment_header(stream=STREAM, first_seq=first_seq, hash_before=before, crc=crc)
    seq = first_seq
    for _ in range(blocks):
        lines = [line(seq + n) for n in range(per_block)]
        data += encode_block(first_seq=seq, count=per_block, payload=b"".join(lines), crc=crc)
        for item in lines:
            before = line_hash(before, item)
        seq += per_block
    return data, before


def dead_stream(spool_dir: Path, *, segments: int = 2) -> Path:
    """Lay out a dead stream: `segments` segments of 3 blocks of 4 events, nothing synced."""
    stream_dir = spool_dir / STREAM
    stream_dir.mkdir()
    before, first = ZERO_HASH, 1
    for _ in range(segments):
        data, before = segment(first, blocks=3, per_block=4, before=before)
        (stream_dir / segment_name(first)).write_bytes(data)
        first += 12
    return stream_dir


def recover(spool_dir: Path) -> RecoveredStream:
    (found,) = recover_dead_streams(spool_dir, node="n1", now_us=NOW_US)
    return found


def damaged(lines: list[bytes]) -> list[int]:
    """Seqs of the lines that are no events."""
    found = []
    for item in lines:
        try:
            decode(item)
        except AccessLogDecodeError:
            found += seqs([item])
    return found


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x10
    path.write_bytes(data)


def block_offsets(path: Path) -> list[int]:
    data = path.read_bytes()
    start = decode_segment_header(data, crc=crc).size
    return [start, *(block.end for block in decode_blocks(data, offset=start, crc=crc))][:-1]


def test_a_whole_stream_is_sealed_and_ended(tmp_path: Path) -> None:
    stream_dir = dead_stream(tmp_path)
    found = recover(tmp_path)
    assert (found.last_seq, found.torn_bytes, found.damaged_seqs) == (25, 0, [])
    lines = synced_lines(stream_dir)
    assert seqs(lines) == list(range(1, 26))
    seal = events(lines)[-1]
    assert (seal.kind, seal.final, seal.final_reason) == (Kind.SEAL, True, "recovered")
    assert seal.complete_through == to_instant(NOW_US)
    running = ZERO_HASH
    for item in lines[:-1]:
        running = line_hash(running, item)
    assert seal.line_hash == running.hex()
    assert recover_dead_streams(tmp_path, node="n1", now_us=NOW_US) == []


@pytest.mark.parametrize("cut", [1, 5, 40, 700])
def test_a_torn_tail_is_cut_at_the_last_whole_block(tmp_path: Path, cut: int) -> None:
    stream_dir = dead_stream(tmp_path)
    path = segment_files(stream_dir)[-1][1]
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut] + bytes(4096))  # reserved space behind it
    found = recover(tmp_path)
    assert found.last_seq == 21
    assert found.damaged_seqs == []
    assert found.torn_bytes > 0
    assert seqs(synced_lines(stream_dir)) == list(range(1, 22))


def test_the_same_after_a_crash_in_the_header_of_a_new_segment(tmp_path: Path) -> None:
    stream_dir = dead_stream(tmp_path, segments=1)
    (stream_dir / segment_name(13)).write_bytes(b"TWSEG1" + bytes(8192))
    assert recover(tmp_path).last_seq == 13
    assert seqs(synced_lines(stream_dir)) == list(range(1, 14))


def test_a_stream_that_never_wrote_is_ended_too(tmp_path: Path) -> None:
    (tmp_path / STREAM).mkdir()
    assert recover(tmp_path).last_seq == 1
    assert events(synced_lines(tmp_path / STREAM))[0].final


@pytest.mark.parametrize("which", [0, 1])
def test_damage_inside_is_kept_counted_and_stands_as_dead_letters(
    tmp_path: Path, which: int, caplog: pytest.LogCaptureFixture
) -> None:
    stream_dir = dead_stream(tmp_path)
    first, path = segment_files(stream_dir)[which]
    before = path.read_bytes()
    flip(path, block_offsets(path)[1] + 60)
    found = recover(tmp_path)
    lost = list(range(first + 4, first + 8))
    assert found.damaged_seqs == lost
    assert found.last_seq == 25
    lines = synced_lines(stream_dir)
    assert seqs(lines) == list(range(1, 26))
    assert damaged(lines) == lost
    assert path.read_bytes()[-200:] == before[-200:] or which == 1  # offsets behind it stay
    assert [item.name for item in stream_dir.glob("*.bad")] == [f"{first:020d}-{first + 4}.bad"]
    assert "are damaged" in caplog.text


def test_a_last_block_that_was_synced_is_damage_and_no_torn_tail(tmp_path: Path) -> None:
    stream_dir = dead_stream(tmp_path, segments=1)
    path = segment_files(stream_dir)[0][1]
    position = Position(1, path.stat().st_size, 12)
    (stream_dir / "synced").write_bytes(encode_position(position, crc=crc))
    flip(path, path.stat().st_size - 3)
    found = recover(tmp_path)
    assert found.damaged_seqs == [9, 10, 11, 12]
    assert seqs(synced_lines(stream_dir)) == list(range(1, 14))


def test_a_damaged_header_costs_no_record(tmp_path: Path) -> None:
    stream_dir = dead_stream(tmp_path)
    flip(segment_files(stream_dir)[1][1], 12)
    found = recover(tmp_path)
    assert (found.last_seq, found.damaged_seqs) == (25, [])
    assert damaged(synced_lines(stream_dir)) == []


def test_a_bit_flip_anywhere_is_found_or_harmless(tmp_path: Path) -> None:
    rng = random.Random(7)
    for round_no in range(60):
        folder = tmp_path / str(round_no)
        folder.mkdir()
        stream_dir = dead_stream(folder)
        path = segment_files(stream_dir)[rng.randrange(2)][1]
        flip(path, rng.randrange(path.stat().st_size))
        found = recover(folder)
        lines = synced_lines(stream_dir)
        assert seqs(lines) == list(range(1, found.last_seq + 1))
        assert damaged(lines) == found.damaged_seqs
        good = set(range(1, found.last_seq)) - set(found.damaged_seqs)
        expected = {line(seq) for seq in good}
        assert {item for item in lines if seqs([item])[0] in good} == expected
        torn = found.torn_bytes > 0 and found.last_seq == 21
        assert found.last_seq == 25 or torn


@pytest.mark.parametrize("block", [0, 1, 2, -1])
def test_damage_that_comes_behind_the_end_is_repaired_by_the_next_boot(
    tmp_path: Path, block: int
) -> None:
    stream_dir = dead_stream(tmp_path)
    recover(tmp_path)
    assert recover_dead_streams(tmp_path, node="n1", now_us=NOW_US) == []
    path = segment_files(stream_dir)[1][1]
    flip(path, block_offsets(path)[block] + 60)
    found = recover(tmp_path)
    lines = synced_lines(stream_dir)
    assert seqs(lines) == list(range(1, found.last_seq + 1))
    assert damaged(lines) == found.damaged_seqs != []
    assert decode(lines[-1]).final
    assert recover_dead_streams(tmp_path, node="n1", now_us=NOW_US) == []


def test_a_live_stream_is_left_alone(tmp_path: Path) -> None:
    stream_dir = dead_stream(tmp_path)
    lock = try_lock(stream_dir / LOCK_NAME)
    assert lock is not None
    assert recover_dead_streams(tmp_path, node="n1", now_us=NOW_US) == []
    os.close(lock)
    assert recover(tmp_path).last_seq == 25


def test_a_crash_behind_the_final_seal_adds_no_second_one(tmp_path: Path) -> None:
    stream_dir = dead_stream(tmp_path)
    recover(tmp_path)
    (stream_dir / "ended").unlink()
    assert recover(tmp_path).last_seq == 25
    assert [event.kind for event in events(synced_lines(stream_dir))].count(Kind.SEAL) == 1


def test_placeholders_fill_the_bytes_they_replace() -> None:
    blocks = placeholder_blocks(stream=STREAM, seqs=range(5, 2505), size=900_000)
    assert len(blocks) == 900_000
    read = list(decode_blocks(blocks, offset=0, crc=crc))
    assert read[0].first_seq == 5
    assert all(a.last_seq + 1 == b.first_seq for a, b in pairwise(read))
    assert max(block.count for block in read) <= 1000
    assert read[-1].last_seq == 2504


@pytest.mark.parametrize("durability", ["process", "power"])
@pytest.mark.timeout(60)
def test_killed_writers_lose_nothing_acknowledged(tmp_path: Path, durability: str) -> None:
    rng = random.Random(durability)
    for round_no in range(4):
        stream = f"n1.b{round_no}.0"
        after_s = rng.uniform(0.02, 0.25)
        acknowledged = run_and_kill(tmp_path, stream, durability, after_s=after_s)
        tear(tmp_path / stream, rng, durability)
        (found,) = recover_dead_streams(tmp_path, node="n1", now_us=NOW_US)
        assert found.damaged_seqs == []
        read = seqs(synced_lines(tmp_path / stream))
        assert read == list(range(1, found.last_seq + 1))
        assert max(acknowledged) < found.last_seq


def tear(stream_dir: Path, rng: random.Random, durability: str) -> None:
    """Take from the end of the stream what a crash may take: a power cut all that is not synced.

    A kill alone tears nothing that was written; half a block is put there instead.
    """
    synced = read_position(stream_dir / "synced")
    first_seq, path = segment_files(stream_dir)[-1]
    data = path.read_bytes()
    start = decode_segment_header(data, crc=crc).size
    end = [start, *(block.end for block in decode_blocks(data, offset=start, crc=crc))][-1]
    if durability == "power" and synced is not None and synced.segment == first_seq:
        path.write_bytes(data[: synced.offset] + bytes(len(data) - synced.offset))
        return
    block = encode_block(first_seq=10**9, count=1, payload=line(10**9), crc=crc)
    torn = block[: rng.randrange(1, len(block))]
    path.write_bytes(data[:end] + torn + data[end + len(torn) :])
