"""Reads the bracketed form encoding of Stripe's v1 API into nested values; pure."""

from typing import Final, TypeAlias
from urllib.parse import parse_qsl

from billing.payments.sandbox.problems import invalid

DEPTH_MAX: Final = 8
FIELDS_MAX: Final = 5_000

Form: TypeAlias = dict[str, "Value"]
Value: TypeAlias = "str | Form"


def decode(text: str) -> Form:
    """Return nested dicts of strings; a list arrives as a dict of its positions.

    :raises Problem: 400 for a name that is not well formed, or is used as two things.

    >>> decode("metadata[a]=1&expand[0]=x&expand[]=y")
    {'metadata': {'a': '1'}, 'expand': {'0': 'x', '1': 'y'}}
    """
    root: Form = {}
    try:
        pairs = parse_qsl(
            text, keep_blank_values=True, strict_parsing=bool(text), max_num_fields=FIELDS_MAX
        )
    except ValueError as error:
        msg = "The request body is not form-encoded."
        raise invalid(msg) from error
    for name, value in pairs:
        _put(root, _path(name), value)
    return root


def _path(name: str) -> list[str]:
    head, *rest = name.split("[")
    if not head or any(not part.endswith("]") or "]" in part[:-1] for part in rest):
        msg = f"Invalid parameter name: {name[:80]}"
        raise invalid(msg)
    if len(rest) >= DEPTH_MAX:
        msg = f"Parameter nested too deep: {name[:80]}"
        raise invalid(msg)
    return [head, *(part[:-1] for part in rest)]


def _put(root: Form, path: list[str], value: str) -> None:
    here = root
    for part in path[:-1]:
        below = here.setdefault(part or str(len(here)), {})
        if isinstance(below, str):
            msg = f"Parameter used as a value and as a group: {path[0]}"
            raise invalid(msg)
        here = below
    last = path[-1] or str(len(here))
    if last in here:
        msg = f"Parameter given twice: {path[0]}"
        raise invalid(msg)
    here[last] = value


def items_in_order(form: Form) -> list[Value]:
    """Return the members of a list, by position.

    :raises Problem: 400 if the names are not 0, 1, 2 …
    """
    if not all(key.isascii() and key.isdigit() and len(key) <= 5 for key in form):
        msg = "Invalid array."
        raise invalid(msg)
    return [form[key] for key in sorted(form, key=int)]
