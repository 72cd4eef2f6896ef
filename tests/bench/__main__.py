"""`python -m tests.bench [gateway|sink|rating|freshness|all]`: measure, and print one table.

The figures belong to the machine they were taken on; what can be compared elsewhere are the
ratios. `docs/benchmarks.md` has the method, and how to read the result.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from tests.bench.freshness_part import run_freshness
from tests.bench.gateway_part import run_gateway
from tests.bench.machine import ToolMissingError, machine_facts
from tests.bench.rating_part import run_rating
from tests.bench.report import Figure, InvalidRunError, Report, as_json, as_markdown, as_table
from tests.bench.sink_part import run_sink

Part = Callable[[Path, argparse.Namespace], tuple[list[Figure], list[str]]]

PARTS: Final[dict[str, Part]] = {
    "gateway": lambda folder, options: run_gateway(
        folder, rounds=options.rounds, seconds=options.seconds
    ),
    "sink": lambda folder, options: run_sink(folder, rounds=options.rounds),
    "freshness": lambda folder, options: run_freshness(folder, rounds=options.rounds),
    "rating": lambda folder, options: run_rating(folder, rounds=options.rounds),
}


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    found.add_argument("part", nargs="?", default="all", choices=[*PARTS, "all"])
    found.add_argument("--rounds", type=_positive, default=5, help="rounds of each figure (5)")
    found.add_argument("--seconds", type=_positive, default=10, help="length of one load (10)")
    found.add_argument("--json", type=Path, metavar="FILE", help="write the run as JSON too")
    found.add_argument("--markdown", action="store_true", help="print Markdown, for the docs")
    return found


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("takes 1 or more")
    return value


def run(options: argparse.Namespace) -> Report:
    """Run the parts asked for, each in a folder of its own that is gone afterwards."""
    found: list[Figure] = []
    skipped: list[str] = []
    with tempfile.TemporaryDirectory(prefix="tollway-bench-") as root:
        facts = machine_facts(Path(root))
        for name, part in PARTS.items():
            if options.part in (name, "all"):
                folder = Path(root) / name
                folder.mkdir()
                more, left_out = part(folder, options)
                found += more
                skipped += left_out
    sizes = {"rounds": options.rounds, "seconds": options.seconds}
    return Report(facts, sizes, tuple(found), tuple(skipped))


def main(arguments: Sequence[str]) -> int:
    options = parser().parse_args(arguments)
    try:
        report = run(options)
    except (InvalidRunError, ToolMissingError) as error:
        sys.stderr.write(f"no result: {error}\n")
        return 1
    if options.json:
        options.json.write_text(as_json(report))
    sys.stdout.write(as_markdown(report) if options.markdown else as_table(report))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
