"""The invariants of exactness, checked on what clients know and what ClickHouse holds."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gateway.contracts.access_log import Charge
from metering.clickhouse import ClickHouse
from tests.integration.crash.clients import Answer, Verdict

_ROWS = "SELECT request_id, toString(charge) FROM access_log WHERE kind = 'request'"
_USED = """
SELECT subscription_id, sum(quantities['requests']) FROM access_log FINAL
WHERE charge != 'free' GROUP BY subscription_id
"""


@dataclass(frozen=True, slots=True)
class Log:
    """What ClickHouse holds of the requests.

    raw, final   rows per (request id, charge), as stored and as merged
    seqs_twice   (stream, seq) stored more than once
    used         units billed or counted per subscription
    """

    raw: Counter[tuple[str, str]]
    final: Counter[tuple[str, str]]
    seqs_twice: int
    used: Mapping[str, int]


def read_log(url: str) -> Log:
    client = ClickHouse(url)
    try:
        ((twice,),) = client.rows("SELECT count() - uniqExact(stream, seq) FROM access_log")
        return Log(
            raw=Counter((row[0], row[1]) for row in client.rows(_ROWS)),
            final=Counter((row[0], row[1]) for row in client.rows(_ROWS.replace(
                "access_log", "access_log FINAL"))),
            seqs_twice=twice,
            used={row[0]: int(row[1]) for row in client.rows(_USED)},
        )  # fmt: skip
    finally:
        client.close()


def expected_charge(answer: Answer) -> Charge:
    """Return the default charge of a complete answer."""
    if answer.status < 400:
        return Charge.BILLED
    return Charge.COUNTED if answer.status == 404 else Charge.FREE


@dataclass(frozen=True, slots=True)
class Undecided:
    """The requests of which the client knows nothing.

    reached   those that a gateway had begun to serve; the others died in a listening socket
    kept      those that are billed or counted
    """

    total: int
    reached: int
    kept: int


def undecided(answers: Iterable[Answer], log: Log, seen_upstream: Mapping[str, int]) -> Undecided:
    ids = {answer.request_id for answer in answers if answer.verdict is Verdict.INFO}
    charges = dict(log.final.keys())
    return Undecided(
        total=len(ids),
        reached=sum(i in charges or i in seen_upstream for i in ids),
        kept=sum(charges.get(i, Charge.FREE) != Charge.FREE for i in ids),
    )


def violations(answers: Iterable[Answer], log: Log, seen_upstream: Mapping[str, int]) -> list[str]:
    """Name every break of I1 to I4; empty = they hold."""
    known = {answer.request_id: answer for answer in answers}
    charges = dict(log.final.keys())
    found = [f"{key} stored {count} times" for key, count in log.raw.items() if count > 1]
    found += [f"{key} merged {count} times" for key, count in log.final.items() if count > 1]
    if len(charges) != len(log.final):
        found.append("one id with two charges")
    if log.raw.keys() != log.final.keys():
        found.append("rows as stored and as merged differ")
    for request_id, answer in known.items():
        if answer.verdict is Verdict.INFO:
            continue
        charge, expected = charges.get(request_id), expected_charge(answer)
        if charge != expected and not (charge is None and expected is Charge.FREE):
            found.append(f"{answer} is {charge}, not {expected}")
    for request_id, charge in charges.items():
        if request_id not in known:
            found.append(f"{request_id} was never sent")
        elif charge != Charge.FREE and request_id not in seen_upstream:
            found.append(f"{request_id} is {charge}, and the upstream never saw it")
    return found
