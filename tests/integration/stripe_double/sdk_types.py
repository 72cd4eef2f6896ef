"""Holds an answer of the double against the annotations of the Stripe library's own classes.

Every field the class requires has to be there and of its type, a field the class does not know is
reported, enumerations are closed.
"""

import builtins
import types
import typing
from collections.abc import Iterator
from decimal import Decimal
from inspect import get_annotations
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import stripe
from stripe import checkout
from stripe._object_classes import get_object_class
from stripe._stripe_object import UntypedStripeObject

_ELSEWHERE = {"Session": checkout.Session, "RefundResource": stripe.Refund}


class _Names(dict[str, Any]):
    """Resolves the names that the library imports for type checkers only."""

    def __missing__(self, name: str) -> Any:
        if hasattr(builtins, name) or hasattr(typing, name):
            raise KeyError(name)
        if name in _ELSEWHERE:
            return _ELSEWHERE[name]
        return getattr(stripe, name) if hasattr(stripe, name) else Any  # loaded when asked for


def faults_of(answer: dict[str, Any]) -> list[str]:
    """Return a sentence for everything that does not fit the class of `answer["object"]`."""
    if answer.get("object") == "list":
        return [fault for row in answer["data"] for fault in faults_of(row)]
    found: type = get_object_class("V1", answer["object"])
    return list(_object_faults(found, answer, answer["object"]))


def _fields(cls: type) -> dict[str, Any]:
    hints = get_type_hints(cls, localns=_Names())
    own = get_annotations(cls)
    return {name: hints[name] for name in own if name.islower() and name[0] != "_"}


def _object_faults(cls: type, value: Any, where: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{where}: {value!r} is no object"
        return
    fields = _fields(cls)
    for name in value.keys() - fields.keys():
        yield f"{where}.{name}: unknown to the library"
    for name, hint in fields.items():
        if name in value:
            yield from _faults(hint, value[name], f"{where}.{name}")
        elif type(None) not in get_args(hint):
            yield f"{where}.{name}: missing"


def _faults(hint: Any, value: Any, where: str) -> Iterator[str]:
    origin = get_origin(hint)
    if hint is Any:
        return
    if origin in (Union, types.UnionType):
        yield from _union_faults(get_args(hint), value, where)
    elif origin is Literal:
        if value not in get_args(hint):
            yield f"{where}: {value!r} is none of {get_args(hint)}"
    elif origin in (list, stripe.ListObject):
        rows = value if origin is list else value["data"]
        for index, row in enumerate(rows):
            yield from _faults(get_args(hint)[0], row, f"{where}[{index}]")
    else:
        yield from _plain_faults(hint, value, where)


def _plain_faults(hint: Any, value: Any, where: str) -> Iterator[str]:
    if get_origin(hint) in (dict, UntypedStripeObject) or hint is UntypedStripeObject:
        if not isinstance(value, dict):
            yield f"{where}: {value!r} is no mapping"
    elif isinstance(hint, type) and issubclass(hint, stripe.StripeObject):
        yield from _object_faults(hint, value, where)
    elif type(value) is not {Decimal: str}.get(hint, hint):
        yield f"{where}: {value!r} is no {hint.__name__}"


def _union_faults(members: tuple[Any, ...], value: Any, where: str) -> Iterator[str]:
    if value is None:
        if type(None) not in members:
            yield f"{where}: may not be null"
        return
    present = [member for member in members if member is not type(None)]
    if any(get_origin(member) is Literal for member in present):
        present = [member for member in present if member is not str]
    tried = [list(_faults(member, value, where)) for member in present]
    if all(tried):
        yield from min(tried, key=len)
