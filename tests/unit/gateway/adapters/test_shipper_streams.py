"""Blocks become messages within bounds, and nothing is split, lost or reordered."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.adapters.shipper_streams import Shipment, build_shipments
from gateway.adapters.spool_files import crc
from gateway.contracts.spool import MAX_BLOCK_BYTES, MAX_BLOCK_EVENTS, Block


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
