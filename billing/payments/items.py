"""Plans how the lines at the collector become the lines they should be; pure.

Who writes them goes through the plan and makes one call a line, each under its own key. A run
that died half way plans again from what is listed and finds less to do.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from billing.payments.port import LineDraft, RemoteLine

ITEMS_MAX: Final = 250
REST_KEY: Final = ":rest"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinePlan:
    """`update` pairs the id of a line that differs with what it should be."""

    create: tuple[LineDraft, ...]
    update: tuple[tuple[str, LineDraft], ...]
    delete: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        return not (self.create or self.update or self.delete)


def plan_lines(*, wanted: Sequence[LineDraft], found: Sequence[RemoteLine]) -> LinePlan:
    """Compare by `line_key`: create what is missing, update what differs, delete the rest.

    A second line under a key, and one without a key of ours, is deleted: the oldest stays.
    """
    ours = {line.line_key: line for line in wanted}
    kept: dict[str, RemoteLine] = {}
    surplus: list[str] = []
    for row in found:
        if row.line_key in ours and row.line_key not in kept:
            kept[row.line_key] = row
        else:
            surplus.append(row.id)
    return LinePlan(
        create=tuple(line for line in wanted if line.line_key not in kept),
        update=tuple(
            (row.id, ours[key]) for key, row in kept.items() if not _is_same(row, ours[key])
        ),
        delete=tuple(surplus),
    )


def _is_same(row: RemoteLine, line: LineDraft) -> bool:
    return (row.amount_minor, row.body_hash) == (line.amount_minor, line.body_hash)


def lines_fit(
    *, lines: Sequence[LineDraft], body_hash: str, limit: int = ITEMS_MAX
) -> tuple[LineDraft, ...]:
    """Fold the smallest lines into one where there are more than the collector takes.

    The sum is unchanged; the detail stays in our own document (`stripe.md` §2). The order of
    the lines that stay is kept, the folded one comes last and spans their periods.

    body_hash   of the folded line; it has to change when any of its parts does
    :raises ValueError: if the lines are of more than one currency or share a key.
    """
    if len({line.currency for line in lines}) > 1:
        msg = "one document, one currency"
        raise ValueError(msg)
    if any(count > 1 for count in Counter(line.line_key for line in lines).values()):
        msg = "a line key is used twice"
        raise ValueError(msg)
    if len(lines) <= limit:
        return tuple(lines)
    by_size = sorted(lines, key=lambda line: (abs(line.amount_minor), line.line_key))
    folded = by_size[: len(lines) - limit + 1]
    keys = {line.line_key for line in folded}
    rest = replace(
        folded[0],
        line_key=REST_KEY,
        description=f"{len(folded)} further lines",
        amount_minor=sum(line.amount_minor for line in folded),
        starts_at=min(line.starts_at for line in folded),
        ends_at=max(line.ends_at for line in folded),
        body_hash=body_hash,
    )
    return (*(line for line in lines if line.line_key not in keys), rest)
