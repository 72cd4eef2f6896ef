"""Which lines of a rated period a kind of document takes (`architecture.md` §4.8)."""

from collections.abc import Callable, Sequence

from billing.models import InvoiceKind
from billing.services.chain import COMMITMENT, MINIMUM_SUFFIX, RatedLine
from billing.services.rated import Stretch


def takes(kind: InvoiceKind, stretches: Sequence[Stretch]) -> Callable[[RatedLine], bool]:
    """Return the test of a line: does this kind of document bill it?

    A threshold leaves out what is due at the end alone: fees in arrears and true-ups. What a
    document does not take it does not subtract either, so that nothing is taken back by it.
    """
    advance = flat_keys(stretches, timing="in_advance")
    arrears = flat_keys(stretches, timing="in_arrears")
    match kind:
        case InvoiceKind.ADVANCE:
            return lambda line: line.price_key in advance and not line.is_adjustment
        case InvoiceKind.THRESHOLD:
            return lambda line: line.price_key not in arrears and not _is_true_up(line)
        case InvoiceKind.PERIOD | InvoiceKind.LATE:
            return lambda line: True


def flat_keys(stretches: Sequence[Stretch], *, timing: str = "in_advance") -> frozenset[str]:
    """Return the keys of the fees that are charged in advance (or in arrears)."""
    return frozenset(
        price["key"]
        for stretch in stretches
        for price in stretch.segment.plan_version.terms.get("prices", [])
        if price["model"] == "flat" and price.get("timing", "in_advance") == timing
    )


def _is_true_up(line: RatedLine) -> bool:
    key = line.line_key.split("@", 1)[0]
    return key == COMMITMENT or key.endswith(MINIMUM_SUFFIX)
