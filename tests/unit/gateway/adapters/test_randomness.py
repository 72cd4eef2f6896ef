"""Random bytes by the block: none twice, none missing."""

from itertools import count

from gateway.adapters.randomness import RandomBytes


def test_no_byte_is_handed_out_twice() -> None:
    numbers = count()

    def source(size: int) -> bytes:
        return b"".join(next(numbers).to_bytes(4, "big") for _ in range(size // 4))

    taken = RandomBytes(source)
    pieces = [taken(24) for _ in range(1000)]
    assert {len(piece) for piece in pieces} == {24}
    words = [piece[at : at + 4] for piece in pieces for at in range(0, 24, 4)]
    assert len(set(words)) == len(words)


def test_the_system_gives_different_ones() -> None:
    taken = RandomBytes()
    assert len({taken(10) for _ in range(2000)}) == 2000
