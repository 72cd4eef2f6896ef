"""Is usage complete, and up to when: from what ClickHouse holds of a stream to its proof, and from
the proofs of all streams to the watermark (`architecture.md` §4.5).

Pure. A seal is *proven* when every seq from 1 to its own is there, in the log or the dead letters;
counting starts behind the newest seal that was proven before, so that retention may remove what is
proven. A stream that has nothing proven holds the watermark at the instant it was opened.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from metering.core.values import ExpectedBoot, StreamProof, Watermark


@dataclass(frozen=True, slots=True)
class Seal:
    """A seal line as the log holds it; its own seq is its `last_seq`."""

    seq: int
    complete_through: datetime
    final: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamFacts:
    """What is stored of a stream, counted behind `base`, the newest seal proven before (or None).

    through     the last seq of the unbroken run that starts behind the base
    fresh       distinct seqs behind the base, in log and dead letters
    last_seen   the highest seq that is known to exist
    duplicates  raw rows beyond one per seq, all time
    """

    stream: str
    node: str
    base: Seal | None = None
    through: int = 0
    fresh: int = 0
    last_seen: int = 0
    duplicates: int = 0
    dead_letters: int = 0
    seals: tuple[Seal, ...] = ()
    first_admitted_at: datetime | None = None


def stream_name(boot: ExpectedBoot) -> str:
    """Name the stream that a boot of a worker writes."""
    return f"{boot.node}.{boot.boot}.{boot.worker}"


def stream_proof(facts: StreamFacts) -> StreamProof:
    """Fold what is stored of a stream into its proof.

    >>> from datetime import UTC
    >>> noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    >>> facts = StreamFacts(stream="n.b.0", node="n", through=7, fresh=8, last_seen=9,
    ...                     seals=(Seal(5, noon, False), Seal(9, noon, True)))
    >>> proof = stream_proof(facts)
    >>> proof.proven_through, proof.missing, proof.ended
    (5, 1, False)
    """
    counted = facts.base.seq if facts.base else 0
    proven = [seal for seal in facts.seals if counted < seal.seq <= facts.through]
    newest = max(proven, key=lambda seal: seal.seq, default=facts.base)
    last_seen = max(facts.last_seen, counted)
    received = counted + facts.fresh
    return StreamProof(
        stream=facts.stream,
        node=facts.node,
        proven_through=newest.seq if newest else 0,
        complete_through=newest.complete_through if newest else None,
        last_seq_seen=last_seen,
        received=received,
        missing=last_seen - received,
        duplicates=facts.duplicates,
        dead_letters=facts.dead_letters,
        ended=newest is not None and newest.final and newest.seq == last_seen,
        first_admitted_at=None if newest else facts.first_admitted_at,
    )


def watermark(
    *, proofs: Iterable[StreamProof], expected: Sequence[ExpectedBoot], now: datetime
) -> Watermark:
    """Return the instant up to which usage of the expected nodes is complete.

    Streams of other nodes, and of boots written off, do not count; a stream that is proven to its
    end does not hold anything back any more. With nothing left to wait for it is `now`.
    """
    boots = {stream_name(boot): boot for boot in expected}
    nodes = {boot.node for boot in expected}
    by_stream = {proof.stream: proof for proof in proofs}
    held: dict[str, tuple[datetime | None, str]] = {}
    for stream in {*boots, *(p.stream for p in by_stream.values() if p.node in nodes)}:
        boot, proof = boots.get(stream), by_stream.get(stream)
        if (boot and boot.written_off) or (proof and proof.ended):
            continue
        held[stream] = _bound(proof, boot)
    return _least(held, now)


def _bound(proof: StreamProof | None, boot: ExpectedBoot | None) -> tuple[datetime | None, str]:
    """Return up to when a stream is complete, and what it waits for."""
    if proof is not None and proof.complete_through is not None:
        if proof.missing:
            return proof.complete_through, f"{proof.missing} events are missing"
        return proof.complete_through, "waits for its next seal"
    opened = boot.opened_at if boot else proof.first_admitted_at if proof else None
    if proof is None:
        return opened, "nothing has arrived yet"
    return opened, "no seal is proven yet"


def _least(held: Mapping[str, tuple[datetime | None, str]], now: datetime) -> Watermark:
    instants = [instant for instant, _ in held.values()]
    known = [instant for instant in instants if instant is not None]
    at = None if len(known) < len(instants) else min([*known, now])
    reasons = {
        stream: reason
        for stream, (instant, reason) in sorted(held.items())
        if instant is None or (at is not None and instant <= at)
    }
    return Watermark(at, reasons)
