"""When which process is killed: random, seeded, and tied to the progress of the clients, so that
a slow machine sees the same schedule as a fast one.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Kill:
    """Kill `target` once `after` requests have been answered, at `delay_s` behind that."""

    after: int
    delay_s: float
    target: str


def build_schedule(*, seed: int, requests: int, targets: Mapping[str, int]) -> list[Kill]:
    """Spread so many kills of each target over the run.

    >>> kills = build_schedule(seed=1, requests=100, targets={"gateway": 2, "sink": 1})
    >>> sorted(kill.target for kill in kills), kills == sorted(kills)
    (['gateway', 'gateway', 'sink'], True)
    """
    source = random.Random(seed)
    names = [name for name, count in targets.items() for _ in range(count)]
    first, last = requests // 100, requests * 95 // 100
    return sorted(Kill(source.randint(first, last), source.random() / 5, name) for name in names)
