"""Are the sequences of a stream whole, and up to when is all usage here (`architecture.md` §4.5).

Pure: what ClickHouse counted arrives as values. A seal is proven when every seq up to its own is
there; the watermark is the least `complete_through` of the newest proven seals of the streams
that still matter.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from metering.core.usage import ExpectedBoot, StreamProof, Watermark


@dataclass(frozen=True, slots=True)
class Seal:
    last_seq: int
    complete_through: datetime
    final: bool


@dataclass(frozen=True, slots=True)
class StreamCount:
    """What is there of a stream: every seq 1..contiguous is in the log or a dead letter.

    rows   raw rows, duplicates included
    """

    stream: str
    node: str
    contiguous: int
    highest: int
    distinct: int
    rows: int
    dead_letters: int
    seals: tuple[Seal, ...]


def prove(count: StreamCount) -> StreamProof:
    """Find the newest seal whose seqs are all there."""
    proven = [seal for seal in count.seals if seal.last_seq <= count.contiguous]
    newest = max(proven, key=lambda seal: seal.last_seq, default=None)
    return StreamProof(
        stream=count.stream,
        node=count.node,
        proven_through=newest.last_seq if newest is not None else 0,
        complete_through=newest.complete_through if newest is not None else None,
        last_seq_seen=count.highest,
        received=count.distinct,
        missing=count.highest - count.distinct,
        duplicates=count.rows - count.distinct,
        dead_letters=count.dead_letters,
        ended=newest is not None and newest.final,
    )


def stream_name(boot: ExpectedBoot) -> str:
    """Name the stream of a boot.

    >>> from datetime import UTC
    >>> stream_name(ExpectedBoot("n", "b", 0, datetime(2026, 1, 1, tzinfo=UTC)))
    'n.b.0'
    """
    return f"{boot.node}.{boot.boot}.{boot.worker}"


def fold_watermark(
    proofs: Iterable[StreamProof], expected: Sequence[ExpectedBoot], *, now: datetime
) -> Watermark:
    """Return the instant up to which usage is complete, and who holds it back.

    A boot whose stream shows nothing yet holds it at the boot's opening. Streams that are proven
    to their end, and boots written off, hold nothing.
    """
    held = {proof.stream: proof for proof in proofs}
    gone = {stream_name(boot) for boot in expected if boot.written_off}
    nodes = {boot.node for boot in expected if not boot.written_off}
    limits: dict[str, tuple[datetime | None, str]] = {}
    for boot in expected:
        name = stream_name(boot)
        if name not in held and name not in gone:
            limits[name] = (boot.opened_at, "nothing has arrived from this start of the node")
    for proof in held.values():
        if proof.node not in nodes or proof.stream in gone or proof.ended:
            continue
        reason = f"proven through seq {proof.proven_through} of {proof.last_seq_seen} seen"
        limits[proof.stream] = (proof.complete_through, reason)
    return _least(limits, now=now)


def _least(limits: Mapping[str, tuple[datetime | None, str]], *, now: datetime) -> Watermark:
    if not limits:
        return Watermark(now)
    held_by = {name: reason for name, (_, reason) in limits.items()}
    instants = [at for at, _ in limits.values()]
    if None in instants:
        return Watermark(None, held_by)
    return Watermark(min(at for at in instants if at is not None), held_by)
