"""What ClickHouse holds of each stream: the facts of the completeness proof, and the prefixes that
the sink goes on from.

What is proven is that every seq is there once or more. The running `line_hash` of a seal is not
checked here: it covers the bytes of the lines, and the log keeps their columns, not their bytes.
It serves whoever holds the lines, in a segment of the spool or in Kafka. On their way the bytes
are held by the checksum of each block, up to the insert.

Three tables say it together: `access_log` (through its projection by stream), `dead_letter`, and
`proven_seal`, from which counting starts. Two rows of one seq are one here.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from metering.clickhouse import ClickHouse
from metering.core.completeness import Seal, StreamFacts, stream_proof
from metering.core.values import StreamProof

_BASES: Final = """
SELECT stream, max(last_seq), argMax(node, last_seq), argMax(complete_through, last_seq),
    argMax(final, last_seq), argMax(duplicates, last_seq)
FROM proven_seal GROUP BY stream
"""
_RUNS: Final = """
WITH base AS (SELECT stream, max(last_seq) AS counted FROM proven_seal GROUP BY stream)
SELECT stream, countIf(seq = counted + place), count(), max(seq), sum(raw - least(raw, 1))
FROM (
    SELECT stream, seq, raw, counted,
        row_number() OVER (PARTITION BY stream ORDER BY seq) AS place
    FROM (
        SELECT stream, seq, sum(logged) AS raw
        FROM (
            SELECT toString(stream) AS stream, seq, 1 AS logged FROM access_log
            WHERE stream NOT IN (SELECT stream FROM proven_seal WHERE final)
            UNION ALL
            SELECT toString(stream) AS stream, seq, 0 AS logged FROM dead_letter
        )
        GROUP BY stream, seq
    ) AS present
    LEFT JOIN base ON base.stream = present.stream
    WHERE seq > counted
)
GROUP BY stream
"""
_SEALS: Final = """
WITH base AS (SELECT stream, max(last_seq) AS counted FROM proven_seal GROUP BY stream)
SELECT DISTINCT toString(stream), seq, complete_through, final, node, open_streams
FROM (
    SELECT stream, seq, complete_through, final, node, open_streams FROM access_log
    WHERE kind = 'seal' AND stream NOT IN (SELECT stream FROM proven_seal WHERE final)
) AS seal
LEFT JOIN base ON base.stream = seal.stream
WHERE seq > counted
"""
_DEAD: Final = """
SELECT stream, count() FROM dead_letter FINAL WHERE resolved_at IS NULL GROUP BY stream
"""
_UNPROVEN: Final = """
SELECT toString(stream), any(node), min(admitted_at) FROM access_log
WHERE stream NOT IN (SELECT stream FROM proven_seal)
GROUP BY stream
"""
_RECORD: Final = """
INSERT INTO proven_seal (stream, last_seq, node, complete_through, final, duplicates)
SELECT {stream:String}, {last_seq:UInt64}, {node:String},
    {complete_through:DateTime64(6, 'UTC')}, {final:Bool}, {duplicates:UInt64}
"""
_PREFIXES: Final = """
WITH base AS (
    SELECT stream, max(last_seq) AS counted FROM proven_seal
    WHERE stream IN {streams:Array(String)} GROUP BY stream
)
SELECT stream, max(counted) + countIf(seq = counted + place)
FROM (
    SELECT stream, seq, counted, row_number() OVER (PARTITION BY stream ORDER BY seq) AS place
    FROM (
        SELECT toString(stream) AS stream, seq FROM access_log
        WHERE stream IN {streams:Array(String)}
        UNION DISTINCT
        SELECT toString(stream) AS stream, seq FROM dead_letter
        WHERE stream IN {streams:Array(String)}
    ) AS present
    LEFT JOIN base ON base.stream = present.stream
    WHERE seq > counted
)
GROUP BY stream
"""
_COUNTED: Final = """
SELECT stream, max(last_seq) FROM proven_seal WHERE stream IN {streams:Array(String)}
GROUP BY stream
"""


def read_facts(clickhouse: ClickHouse) -> tuple[StreamFacts, ...]:
    """Read what is stored of every stream, and of those that seals name as open.

    :raises MeteringUnavailableError: when ClickHouse does not answer.
    """
    bases = {row[0]: row[1:] for row in clickhouse.rows(_BASES)}
    runs = {row[0]: row[1:] for row in clickhouse.rows(_RUNS)}
    dead = {row[0]: row[1] for row in clickhouse.rows(_DEAD)}
    unproven = {row[0]: row[1:] for row in clickhouse.rows(_UNPROVEN)}
    seals: dict[str, list[Seal]] = {}
    nodes: dict[str, str] = {}
    for stream, seq, complete_through, final, node, open_streams in clickhouse.rows(_SEALS):
        seals.setdefault(stream, []).append(Seal(seq, complete_through, final))
        nodes.update(dict.fromkeys(open_streams, node))
    nodes.update({stream: row[0] for stream, row in unproven.items()})
    nodes.update({stream: row[1] for stream, row in bases.items()})
    facts = []
    for stream in sorted({*bases, *runs, *nodes, *dead}):
        base = bases.get(stream)
        counted = base[0] if base else 0
        run, fresh, last_seen, duplicates = runs.get(stream, (0, 0, 0, 0))
        facts.append(
            StreamFacts(
                stream=stream,
                node=nodes.get(stream, ""),
                base=Seal(base[0], base[2], base[3]) if base else None,
                through=counted + run,
                fresh=fresh,
                last_seen=last_seen,
                duplicates=duplicates + (base[4] if base else 0),
                dead_letters=dead.get(stream, 0),
                seals=tuple(seals.get(stream, ())),
                first_admitted_at=unproven[stream][1] if stream in unproven else None,
            )
        )
    return tuple(facts)


def read_proofs(clickhouse: ClickHouse) -> tuple[StreamProof, ...]:
    """Read the proof of every stream.

    :raises MeteringUnavailableError: when ClickHouse does not answer.
    """
    return tuple(stream_proof(facts) for facts in read_facts(clickhouse))


def record_proven(clickhouse: ClickHouse) -> int:
    """Store the newest proven seals and return how many moved on; the sink does it each minute.

    :raises MeteringUnavailableError: when ClickHouse does not answer; nothing is lost by that.
    """
    moved = 0
    for facts in read_facts(clickhouse):
        proof = stream_proof(facts)
        if proof.complete_through is None or (
            facts.base and facts.base.seq >= proof.proven_through
        ):
            continue
        final = any(seal.final for seal in facts.seals if seal.seq == proof.proven_through)
        clickhouse.command(
            _RECORD,
            {
                "stream": proof.stream,
                "last_seq": proof.proven_through,
                "node": proof.node,
                "complete_through": proof.complete_through,
                "final": final,
                "duplicates": proof.duplicates,
            },
        )
        moved += 1
    return moved


def read_prefixes(clickhouse: ClickHouse, streams: Sequence[str]) -> Mapping[str, int]:
    """Return per stream the seq up to which every line is in the log or a dead letter.

    :raises MeteringUnavailableError: when ClickHouse does not answer.
    """
    names = {"streams": list(streams)}
    prefixes = dict.fromkeys(streams, 0)
    prefixes.update({row[0]: row[1] for row in clickhouse.rows(_COUNTED, names)})
    prefixes.update({row[0]: row[1] for row in clickhouse.rows(_PREFIXES, names)})
    return prefixes
