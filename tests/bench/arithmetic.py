"""The bench's arithmetic: medians, percentiles, paired ratios. Pure."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


class NoSamplesError(ValueError):
    """A figure of nothing was asked for; the run is not valid."""


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some runs, and how far they lie apart."""

    median: float
    low: float
    high: float
    runs: int


def spread_of(values: Sequence[float]) -> Spread:
    """Return median, least and greatest.

    >>> spread_of([3.0, 1.0, 2.0])
    Spread(median=2.0, low=1.0, high=3.0, runs=3)

    :raises NoSamplesError: without values.
    """
    if not values:
        raise NoSamplesError("no samples")
    return Spread(statistics.median(values), min(values), max(values), len(values))


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the least value that `percent` of all values do not exceed (nearest rank).

    It is always a value that was measured; nothing is interpolated.

    >>> percentile([30.0, 10.0, 20.0, 40.0], 50), percentile([30.0, 10.0, 20.0, 40.0], 99)
    (20.0, 40.0)

    :raises NoSamplesError: without values.
    """
    if not values:
        raise NoSamplesError("no samples")
    rank = max(1, math.ceil(len(values) * percent / 100))
    return sorted(values)[rank - 1]


def paired_ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Divide round by round: what slowed a whole round down falls out.

    >>> paired_ratios([10.0, 4.0], [20.0, 8.0])
    [0.5, 0.5]

    :raises ValueError: unless both have as many rounds.
    """
    return [one / other for one, other in zip(ours, theirs, strict=True)]


def ages(answered: Sequence[float], polls: Sequence[tuple[float, int]]) -> list[float]:
    """Return how long each call took to show: to the first poll that counts as many.

    answered   instants, in the order in which calls show
    polls      (instant, count of calls), ascending; the last one counts all

    A call that a poll counted before its answer was read has the age 0.

    >>> ages([10.0, 20.0, 30.0], [(15.0, 0), (25.0, 2), (40.0, 3)])
    [15.0, 5.0, 10.0]
    """
    found = []
    coming = iter(polls)
    at, count = next(coming)
    for number, instant in enumerate(answered, start=1):
        while count < number:
            at, count = next(coming)
        found.append(max(0.0, at - instant))
    return found


def steps(instants: Sequence[float]) -> list[float]:
    """Return the distances between neighbours.

    >>> steps([1.0, 3.0, 6.0])
    [2.0, 3.0]
    """
    return [later - earlier for earlier, later in pairwise(instants)]
