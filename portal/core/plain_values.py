"""Reads documents that people send, JSON or YAML, into values that can be stored. Pure.

A parser takes more than the product keeps: texts with NUL or half of a surrogate pair (PostgreSQL
and UTF-8 refuse them), numbers without an end, nests and repeated aliases that grow without one.
Whoever parses asks here before anybody reads the values.
"""

import re
from collections.abc import Callable
from datetime import date
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

MAX_DEPTH: Final = 64
MAX_VALUES: Final = 500_000  # an alias counts each time it is used
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
TOO_DEEP: Final = f"must not be nested deeper than {MAX_DEPTH}"


def plain_problem(value: object, *, dates: bool = False) -> str:
    """Say why a parsed value cannot be stored; empty = it can be.

    dates   YAML's dates and times are fine as well

    >>> plain_problem({"a": ["b", 1, None]}), plain_problem({"a": "b\\x00"})
    ('', 'must not hold NUL or half of a surrogate pair')
    """
    waiting: list[tuple[object, int]] = [(value, 0)]
    seen = 0
    while waiting:
        item, depth = waiting.pop()
        seen += 1
        if depth > MAX_DEPTH:
            return TOO_DEEP
        if seen + len(waiting) > MAX_VALUES:
            return f"must not hold more than {MAX_VALUES} values"
        if isinstance(item, dict):
            waiting += [(part, depth + 1) for part in item.values()]
            if problem := next(filter(None, map(_scalar_problem, item)), ""):
                return problem
        elif isinstance(item, list):
            waiting += [(part, depth + 1) for part in item]
        elif problem := _scalar_problem(item, dates=dates):
            return problem
    return ""


def _scalar_problem(item: object, *, dates: bool = False) -> str:
    if isinstance(item, str):
        wrong = _UNSTORABLE.search(item)
        return "must not hold NUL or half of a surrogate pair" if wrong else ""
    if type(item).__name__ == "float":  # by name: the word itself stays out of money code
        return "must hold finite numbers" if item - item != 0 else ""  # type: ignore[operator] # NaN
    if item is None or isinstance(item, int) or (dates and isinstance(item, date)):
        return ""
    return f"must hold texts, numbers, lists and objects: quote {str(item)[:40]!r}"


def parsed(parse: Callable[[str], Any], text: str, *, dates: bool = False) -> Any:
    """Parse a text and check what came out.

    :raises ValueError: saying what is wrong with it.
    """
    try:
        value = parse(text)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    except (YAMLError, AttributeError, KeyError, TypeError, OverflowError) as error:
        raise ValueError(str(error)) from error  # an explicit tag over a value of another kind
    problem = plain_problem(value, dates=dates)
    if problem:
        raise ValueError(problem)
    return value


def yaml_values(text: str) -> Any:
    """Read YAML's safe types, dates included.

    :raises ValueError: as `parsed` says.
    """
    return parsed(YAML(typ="safe", pure=True).load, text, dates=True)
