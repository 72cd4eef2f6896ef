"""Blocks become messages within bounds, and nothing is split, lost or reordered."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from gateway.adapters.shipper_streams import Shipment, ShippedStream, build_shipments
from gateway.adapters.spool_files import crc
from gateway.contracts.spool import MAX_BLOCK_BYTES, MAX_BLOCK_EVENTS, Block
from tests.factories.access_log import StreamWriter
from tests.factories.spool_files import SpoolWriter


def blocks_of(shape: list[tuple[int, int]]) -> list[Block]:
    """Blocks of (events, bytes an event), one behind the other."""
    blocks, seq = [], 1
    for count, size in shape:
        lines = [b"%d".ljust(size, b"x") % (seq + n) + b"\n" for n in range(count)]
        blocks.append(Block(seq, count, b"".join(lines), 0))
        seq += count
    return blocks


@given(st.lists(st.tuples(st.integers(1, MAX_BLOCK_EVENTS), st.integers(2, 250)), max_size=12))
def test_messages_hold_the_same_lines_in_order(shape: list[tuple[int, int]]) -> None:
    blocks = blocks_of(shape)
    shipments = list(build_shipments(blocks))
    assert b"".join(s.payload for s in shipments) == b"".join(b.payload for b in blocks)
    seq = 1
    for shipment in shipments:
        assert shipment.first_seq == seq
        assert shipment.payload.count(b"\n") == shipment.count <= MAX_BLOCK_EVENTS
        assert len(shipment.payload) <= MAX_BLOCK_BYTES
        seq = shipment.last_seq + 1


def test_small_blocks_travel_together() -> None:
    assert [s.count for s in build_shipments(blocks_of([(10, 20)] * 150))] == [1000, 500]


def test_headers_describe_the_payload() -> None:
    headers = dict(Shipment(41, 2, b"a\nb\n").headers())
    assert headers == {
        "first_seq": b"41",
        "last_seq": b"42",
        "count": b"2",
        "crc32c": b"%d" % crc(b"a\nb\n"),
    }


def test_a_damaged_stream_is_looked_at_again_and_goes_on_once_it_is_repaired(
    tmp_path: Path,
) -> None:
    spool = SpoolWriter(tmp_path, StreamWriter())
    spool.events.event()
    spool.block()
    spool.sync()
    spool.damage(200)
    stream = ShippedStream(spool.folder, mono_s=0.0, patience_s=60.0)
    assert stream.next_shipments() == []
    stream.repeat_if_stalled(60.0)
    assert stream.next_shipments() == []
    spool.damage(200)  # flipped back: as it was
    stream.repeat_if_stalled(119.0)
    assert stream.next_shipments() == []
    stream.repeat_if_stalled(120.0)
    assert [shipment.last_seq for shipment in stream.next_shipments()] == [1]
