"""The chain rule of a period's documents, as pure arithmetic (`architecture.md` §4.8).

A document bills, by `line_key`, what is rated now minus what earlier documents billed; keys that
vanished are taken back. Nothing here reads the database or rounds: amounts are minor units that
rating has already rounded.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

COMMITMENT: Final = "commitment"
MINIMUM_SUFFIX: Final = ":minimum"
ADJUSTMENT_SUFFIXES: Final = (MINIMUM_SUFFIX, ":maximum")


@dataclass(frozen=True, slots=True, kw_only=True)
class RatedLine:
    """A line of the whole period, as rating gives it."""

    line_key: str
    price_key: str
    description: str
    starts_at: datetime
    ends_at: datetime
    amount_minor: int
    discount_minor: int = 0
    quantity: Decimal | None = None
    unit_amount: Decimal | None = None
    meter: str = ""

    @property
    def is_adjustment(self) -> bool:
        """Minimum, maximum and commitment lines, with or without an `@<from>` behind."""
        key = self.line_key.split("@", 1)[0]
        return key == COMMITMENT or key.endswith(ADJUSTMENT_SUFFIXES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Billed:
    """What documents that are not void have billed under one key, and how it was called."""

    amount_minor: int = 0
    discount_minor: int = 0
    line: RatedLine


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A line of the next document."""

    line: RatedLine
    amount_minor: int
    discount_minor: int
    is_new: bool  # no earlier document shows this key

    @property
    def net_minor(self) -> int:
        return self.amount_minor - self.discount_minor

    @property
    def moves_money(self) -> bool:
        return self.amount_minor != 0 or self.discount_minor != 0


def differences(
    rated: Sequence[RatedLine], billed: Mapping[str, Billed]
) -> tuple[Difference, ...]:
    """Return the lines of the next document, in rated order, vanished keys last.

    >>> from datetime import UTC
    >>> at = datetime(2026, 1, 1, tzinfo=UTC)
    >>> def line(key, minor):
    ...     return RatedLine(line_key=key, price_key=key, description=key, starts_at=at,
    ...                      ends_at=at, amount_minor=minor)
    >>> before = {"base": Billed(amount_minor=4900, line=line("base", 4900)),
    ...           "gone": Billed(amount_minor=100, line=line("gone", 100))}
    >>> rows = differences([line("base", 4900), line("calls", 1350)], before)
    >>> [(d.line.line_key, d.net_minor) for d in rows]
    [('calls', 1350), ('gone', -100)]
    """
    rows = [_difference(line, billed.get(line.line_key)) for line in rated]
    known = {line.line_key for line in rated}
    rows += [_taken_back(was) for key, was in sorted(billed.items()) if key not in known]
    return tuple(row for row in rows if row.moves_money or row.is_new)


def _difference(line: RatedLine, was: Billed | None) -> Difference:
    return Difference(
        line=line,
        amount_minor=line.amount_minor - (was.amount_minor if was else 0),
        discount_minor=line.discount_minor - (was.discount_minor if was else 0),
        is_new=was is None,
    )


def _taken_back(was: Billed) -> Difference:
    empty = RatedLine(
        line_key=was.line.line_key,
        price_key=was.line.price_key,
        description=was.line.description,
        starts_at=was.line.starts_at,
        ends_at=was.line.ends_at,
        meter=was.line.meter,
        amount_minor=0,
    )
    return Difference(
        line=empty,
        amount_minor=-was.amount_minor,
        discount_minor=-was.discount_minor,
        is_new=False,
    )


def digest(value: Any) -> str:
    """Return the SHA-256 of a value's canonical JSON, hex; decimals and times as text."""
    body = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str
    )
    return hashlib.sha256(body.encode()).hexdigest()


def billed_digest(billed: Mapping[str, Billed]) -> str:
    """Hash what a draft subtracts, so that an approval covers it too."""
    return digest({k: [b.amount_minor, b.discount_minor] for k, b in billed.items()})


def changes(before: Mapping[str, int], after: Iterable[Difference]) -> list[dict[str, str | int]]:
    """List the keys whose net differs between an old draft and its re-rating."""
    nets = {row.line.line_key: row.net_minor for row in after}
    return [
        {"line_key": key, "before_minor": before.get(key, 0), "after_minor": nets.get(key, 0)}
        for key in sorted(before.keys() | nets.keys())
        if before.get(key, 0) != nets.get(key, 0)
    ]
