"""What differs between two dumps of the configuration. Pure."""

from collections.abc import Iterable
from typing import Any, NamedTuple


class Change(NamedTuple):
    """One value that differs; None on a side = absent there."""

    path: str
    before: Any
    after: Any


_NAMES = ("slug", "username", "name", "key_hash", "number", "plan")


def diff_list(before: Any, after: Any, path: str = "") -> Iterable[Change]:
    """Yield the values that differ; list entries are matched by their name, else by position.

    >>> list(diff_list({"a": [{"slug": "x", "n": 1}]}, {"a": [{"slug": "x", "n": 2}]}))
    [Change(path='a[x].n', before=1, after=2)]
    """
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*before, *(k for k in after if k not in before)]:
            place = f"{path}.{key}" if path and not str(key).startswith("[") else f"{path}{key}"
            yield from diff_list(before.get(key), after.get(key), place)
    elif isinstance(before, list) and isinstance(after, list):
        yield from diff_list(_keyed(before), _keyed(after), path)
    elif before != after:
        yield Change(path, before, after)


def _keyed(items: list[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for index, item in enumerate(items):
        names = [str(item[n]) for n in _NAMES if n in item] if isinstance(item, dict) else []
        key = f"[{names[0]}]" if names else f"[{index}]"
        found[key if key not in found else f"[{index}]"] = item
    return found
