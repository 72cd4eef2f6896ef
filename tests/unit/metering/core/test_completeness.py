"""From stored seqs to proof and watermark: examples, and the promise under any loss."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from metering.core.completeness import Seal, StreamFacts, stream_name, stream_proof, watermark
from metering.core.values import ExpectedBoot, StreamProof

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
BOOT = ExpectedBoot(node="n", boot="b", worker=0, opened_at=NOON - timedelta(hours=1))
NOW = NOON + timedelta(hours=1)


def minutes(count: int) -> datetime:
    return NOON + timedelta(minutes=count)


def proof(stream: str = "n.b.0", **facts: object) -> StreamProof:
    node = stream.split(".", maxsplit=1)[0]
    return stream_proof(StreamFacts(stream=stream, node=node, **facts))  # type: ignore[arg-type]


def test_a_seal_is_proven_when_all_before_it_is_there() -> None:
    seals = (Seal(3, minutes(1), False), Seal(6, minutes(2), False))
    whole = proof(through=6, fresh=6, last_seen=6, seals=seals)
    assert (whole.proven_through, whole.complete_through, whole.missing) == (6, minutes(2), 0)
    gap = proof(through=4, fresh=5, last_seen=6, seals=seals)
    assert (gap.proven_through, gap.complete_through, gap.missing) == (3, minutes(1), 1)
    assert not gap.complete


def test_counting_goes_on_from_the_seal_proven_before() -> None:
    base = Seal(100, minutes(1), False)
    idle = proof(base=base, through=100)
    assert (idle.proven_through, idle.received, idle.missing) == (100, 100, 0)
    on = proof(
        base=base, through=110, fresh=10, last_seen=110, seals=(Seal(105, minutes(2), False),)
    )
    assert (on.proven_through, on.complete_through) == (105, minutes(2))


def test_a_stream_has_ended_when_its_final_seal_is_the_last_and_proven() -> None:
    final = (Seal(5, minutes(1), True),)
    assert proof(through=5, fresh=5, last_seen=5, seals=final).ended
    assert not proof(through=4, fresh=4, last_seen=5, seals=final).ended
    assert not proof(through=6, fresh=6, last_seen=6, seals=final).ended
    assert proof(base=final[0], through=5).ended


def test_the_least_stream_holds_the_watermark_and_is_named() -> None:
    fast = proof("n.b.0", through=5, fresh=5, last_seen=5, seals=(Seal(5, minutes(9), False),))
    slow = proof("n.b.1", through=5, fresh=5, last_seen=5, seals=(Seal(5, minutes(3), False),))
    mark = watermark(proofs=[fast, slow], expected=[BOOT], now=NOW)
    assert mark.at == minutes(3)
    assert list(mark.held_by) == ["n.b.1"]


def test_an_expected_boot_that_sent_nothing_holds_from_its_opening() -> None:
    mark = watermark(proofs=[], expected=[BOOT], now=NOW)
    assert mark.at == BOOT.opened_at
    assert mark.held_by == {"n.b.0": "nothing has arrived yet"}


def test_written_off_and_ended_streams_hold_nothing() -> None:
    gone = ExpectedBoot(node="n", boot="a", worker=0, opened_at=NOON, written_off=True)
    ended = proof(through=5, fresh=5, last_seen=5, seals=(Seal(5, minutes(1), True),))
    assert watermark(proofs=[ended], expected=[BOOT, gone], now=NOW).at == NOW
    assert watermark(proofs=[], expected=[], now=NOW).at == NOW


def test_a_retired_boot_holds_until_it_is_proven_to_its_end() -> None:
    retired = ExpectedBoot(node="n", boot="b", worker=0, opened_at=NOON, retired=True)
    seals = (Seal(2, minutes(1), False), Seal(5, minutes(2), True))
    open_end = proof(through=4, fresh=4, last_seen=5, seals=seals)
    assert watermark(proofs=[open_end], expected=[retired], now=NOW).at == minutes(1)


def test_streams_of_unknown_nodes_do_not_count() -> None:
    stranger = proof("x.b.0", through=1, fresh=1, last_seen=1)
    assert watermark(proofs=[stranger], expected=[], now=NOW).at == NOW


def test_an_unexpected_stream_of_a_known_node_counts() -> None:
    mine = proof(through=5, fresh=5, last_seen=5, seals=(Seal(5, minutes(9), False),))
    late = proof("n.c.0", first_admitted_at=minutes(2), fresh=1, last_seen=1, through=1)
    assert watermark(proofs=[mine, late], expected=[BOOT], now=NOW).at == minutes(2)
    named_only = proof("n.d.0")
    mark = watermark(proofs=[mine, named_only], expected=[BOOT], now=NOW)
    assert mark.at is None
    assert list(mark.held_by) == ["n.d.0"]


def test_the_watermark_is_never_ahead_of_now() -> None:
    ahead = proof(through=5, fresh=5, last_seen=5, seals=(Seal(5, minutes(600), False),))
    assert watermark(proofs=[ahead], expected=[BOOT], now=NOW).at == NOW


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[tuple[int, datetime, bool]], set[int]]:
    """(seq, admitted_at, is a seal) of a stream in order, and which seqs arrived."""
    history = []
    at = NOON
    for seq in range(1, draw(st.integers(1, 40)) + 1):
        at += timedelta(seconds=draw(st.integers(0, 90)))
        history.append((seq, at, draw(st.integers(0, 4)) == 0))
    arrived = draw(st.sets(st.sampled_from([seq for seq, _, _ in history])))
    return history, arrived


def facts_of(
    history: Sequence[tuple[int, datetime, bool]], arrived: set[int], base: Seal | None
) -> StreamFacts:
    """Count the way the queries do, from what arrived alone."""
    counted = base.seq if base else 0
    fresh = sorted(seq for seq in arrived if seq > counted)
    run = sum(seq == counted + place for place, seq in enumerate(fresh, 1))
    return StreamFacts(
        stream="n.b.0", node="n", base=base, through=counted + run, fresh=len(fresh),
        last_seen=max(fresh, default=0),
        seals=tuple(Seal(s, at, False) for s, at, seal in history if seal and s in fresh),
    )  # fmt: skip


@given(histories())
def test_no_lost_event_lies_before_the_watermark(
    drawn: tuple[list[tuple[int, datetime, bool]], set[int]],
) -> None:
    history, arrived = drawn
    folded = stream_proof(facts_of(history, arrived, None))
    at = watermark(proofs=[folded], expected=[BOOT], now=NOW).at
    assert at is not None
    lost = [(seq, admitted) for seq, admitted, _ in history if seq not in arrived]
    assert all(admitted >= at for _, admitted in lost)
    assert all(seq > folded.proven_through for seq, _ in lost)
    assert folded.missing == sum(seq < max(arrived, default=0) for seq, _ in lost)


@given(histories(), st.data())
def test_retention_of_what_is_proven_changes_no_proof(
    drawn: tuple[list[tuple[int, datetime, bool]], set[int]], data: st.DataObject
) -> None:
    history, arrived = drawn
    before = stream_proof(facts_of(history, arrived, None))
    proven = [Seal(s, at, False) for s, at, seal in history if seal and s <= before.proven_through]
    base = data.draw(st.sampled_from([None, *proven]))
    kept = {seq for seq in arrived if base is None or seq > base.seq}
    after = stream_proof(facts_of(history, kept, base))
    assert (after.proven_through, after.complete_through) == (
        before.proven_through, before.complete_through,
    )  # fmt: skip
    assert (after.received, after.missing) == (before.received, before.missing)


def test_streams_are_named_by_node_boot_and_worker() -> None:
    assert stream_name(BOOT) == "n.b.0"
