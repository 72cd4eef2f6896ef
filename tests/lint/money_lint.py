"""Refuse constructs that make or hide a float near money (`style.md` §8)."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

NAMES = {"float": "name `float`", "round": "built-in round()", "total_seconds": "gives a float"}


def violations(source: str) -> Iterator[tuple[int, str]]:
    """Yield (line number, reason) for every construct that makes or hides a float."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        why: str | None = None
        if isinstance(node, ast.Constant) and isinstance(node.value, float):
            why = "float literal"
        elif isinstance(node, ast.Name | ast.Attribute):
            why = NAMES.get(node.id if isinstance(node, ast.Name) else node.attr)
        elif isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
            why = "`/`: use //, Fraction or money.divide()"
        line_no = getattr(node, "lineno", 0)
        if why and "# money-ok:" not in lines[line_no - 1]:  # the escape carries its reason
            yield line_no, why


if __name__ == "__main__":
    found = [f"{p}:{n}: {why}" for p in sys.argv[1:] for n, why in violations(Path(p).read_text())]
    sys.exit("\n".join(found) or 0)
