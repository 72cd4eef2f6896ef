"""Builds, from the installed Stripe library, what each operation takes, and checks requests.

The library's service files say which verb and path an operation has and the name of its parameter
type; the TypedDicts say which parameters exist, of which kind, and which are required. So the
double knows exactly the pinned API version: an unknown parameter, a wrong type and a value
outside an enumeration are refused. Where the library allows `Literal[...] | str`, for values that
later versions may add, the double takes the literal values only.
"""

import ast
import re
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache, lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal, NotRequired, Union, get_args, get_origin, get_type_hints

from stripe import RequestOptions

from billing.payments.sandbox.forms import Form, Value, items_in_order
from billing.payments.sandbox.problems import invalid

SERVICES: Final = (
    "stripe._charge_service",
    "stripe._credit_note_service",
    "stripe._credit_note_line_item_service",
    "stripe._customer_service",
    "stripe._customer_balance_transaction_service",
    "stripe._customer_payment_method_service",
    "stripe._dispute_service",
    "stripe._event_service",
    "stripe._invoice_service",
    "stripe._invoice_item_service",
    "stripe._invoice_line_item_service",
    "stripe._invoice_payment_service",
    "stripe._payment_intent_service",
    "stripe._payment_method_service",
    "stripe._refund_service",
    "stripe._setup_intent_service",
    "stripe.checkout._session_service",
)
METADATA_KEYS_MAX: Final = 50
METADATA_KEY_MAX: Final = 40
METADATA_VALUE_MAX: Final = 500
_INTEGER: Final = re.compile(r"-?[0-9]{1,18}")
_DECIMAL: Final = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,12})?")


@dataclass(frozen=True, slots=True)
class Operation:
    """One call of the API: verb, path with `{names}`, and where its parameters are described."""

    verb: str
    path: str
    params_module: str
    params_name: str


@lru_cache(maxsize=1)
def operations() -> Mapping[tuple[str, str], Operation]:
    """Read the service files; `(verb, path with every name as {})` -> operation."""
    found = (op for module in SERVICES for op in _operations_of(module))
    return {(op.verb, shape(op.path)): op for op in found}


def shape(path: str) -> str:
    """Take the names out of a path, so that two spellings of one compare equal.

    >>> shape("/v1/invoices/{invoice}/pay")
    '/v1/invoices/{}/pay'
    """
    return re.sub(r"\{[^}]*\}", "{}", path)


def _operations_of(module: str) -> Iterator[Operation]:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        msg = f"The Stripe library has no {module}; the double has to be derived again."
        raise RuntimeError(msg)
    tree = ast.parse(Path(spec.origin).read_text())
    homes = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            yield from _operation_of(node, homes)


def _operation_of(node: ast.FunctionDef, homes: Mapping[str, str]) -> Iterator[Operation]:
    name = next((_annotated(arg) for arg in node.args.args if arg.arg == "params"), "")
    for call in ast.walk(node):
        is_request = (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Attribute)
            and call.func.attr == "_request"
        )
        if is_request and name in homes:
            verb, path = (_text(arg) for arg in call.args[:2])  # type: ignore[attr-defined]
            yield Operation(verb.upper(), path, homes[name], name)


def _annotated(arg: ast.arg) -> str:
    """Return the name in `"XParams"` or `Optional["XParams"]`."""
    texts = [
        n.value for n in ast.walk(arg) if isinstance(n, ast.Constant) and isinstance(n.value, str)
    ]
    return texts[0] if texts else ""


def _text(node: ast.expr) -> str:
    """Return a string literal, also the one in `"…".format(…)`."""
    inner = next(n for n in ast.walk(node) if isinstance(n, ast.Constant))
    return str(inner.value)


@cache
def _fields(params_type: type) -> dict[str, tuple[Any, bool]]:
    """Return name -> (type, required) of a parameter TypedDict, without the call's options."""
    names = {"StripeContext": object, "Mapping": Mapping}  # of the options alone
    hints = get_type_hints(params_type, localns=names, include_extras=True)
    options = () if params_type is RequestOptions else RequestOptions.__annotations__
    found: dict[str, tuple[Any, bool]] = {}
    for name, hint in hints.items():
        if name in options:
            continue
        optional = get_origin(hint) is NotRequired
        found[name] = (get_args(hint)[0] if optional else hint, not optional)
    return found


def parameters(operation: Operation) -> type:
    """Return the TypedDict of an operation's parameters."""
    found: type = getattr(import_module(operation.params_module), operation.params_name)
    return found


def check(*, operation: Operation, form: Form) -> dict[str, Any]:
    """Return the request's parameters as integers, booleans, lists and dicts.

    :raises Problem: 400, naming the parameter, for everything that the library does not describe.
    """
    checked = _group(parameters(operation), form, "")
    if isinstance(checked.get("metadata"), dict):
        metadata_fits(checked["metadata"])
    return checked


def _group(params_type: type, form: Form, path: str) -> dict[str, Any]:
    fields = _fields(params_type)
    checked: dict[str, Any] = {}
    for name, value in form.items():
        where = f"{path}[{name}]" if path else name
        if name not in fields:
            msg = f"Received unknown parameter: {where}"
            raise invalid(msg, param=where, code="parameter_unknown")
        checked[name] = _value(fields[name][0], value, where)
    for name, (_, required) in fields.items():
        if required and name not in checked:
            where = f"{path}[{name}]" if path else name
            msg = f"Missing required param: {where}."
            raise invalid(msg, param=where, code="parameter_missing")
    return checked


def _value(hint: Any, value: Value, where: str) -> Any:
    if get_origin(hint) in (Union, types.UnionType):
        return _one_of(hint, value, where)
    if get_origin(hint) is Literal:
        return _literal(get_args(hint), value, where)
    if get_origin(hint) is list:
        return _list(get_args(hint)[0], value, where)
    if get_origin(hint) is dict:
        return _mapping(value, where)
    if hasattr(hint, "__required_keys__"):  # a TypedDict, whichever module defined it
        if isinstance(value, str):
            msg = f"Invalid object: {where}"
            raise invalid(msg, param=where)
        return _group(hint, value, where)
    reader = _SCALARS.get(hint)
    if reader is None or not isinstance(value, str):
        msg = f"Invalid {getattr(hint, '__name__', 'value')}: {where}"
        raise invalid(msg, param=where)
    return reader(value, where)


def _one_of(hint: Any, value: Value, where: str) -> Any:
    """Read a union: an empty string clears where that is allowed, an enumeration is closed."""
    members = [member for member in get_args(hint) if get_origin(member) is not Literal]
    literals = [v for member in get_args(hint) for v in get_args(member) if _is_literal(member)]
    if value in literals:
        return value
    if any(literals):  # an enumeration, beside which the library leaves room for later values
        members = [member for member in members if member is not str]
    for member in members:
        fits = isinstance(value, str) == (member in _SCALARS)
        if fits:
            return _value(member, value, where)
    return _literal(literals, value, where)


def _is_literal(hint: Any) -> bool:
    return get_origin(hint) is Literal


def _literal(allowed: Any, value: Value, where: str) -> str:
    if isinstance(value, str) and value in allowed:
        return value
    msg = f"Invalid {where}: must be one of {', '.join(repr(v) for v in allowed)}"
    raise invalid(msg, param=where)


def _list(member: Any, value: Value, where: str) -> list[Any]:
    if isinstance(value, str):
        msg = f"Invalid array: {where}"
        raise invalid(msg, param=where)
    rows = items_in_order(value)
    return [_value(member, row, f"{where}[{index}]") for index, row in enumerate(rows)]


def _mapping(value: Value, where: str) -> dict[str, str]:
    held = {} if isinstance(value, str) else value
    texts = {name: text for name, text in held.items() if isinstance(text, str)}
    if isinstance(value, str) or len(texts) != len(held):
        msg = f"Invalid hash: {where}"
        raise invalid(msg, param=where)
    return texts


def _integer(value: str, where: str) -> int:
    if not _INTEGER.fullmatch(value):
        msg = f"Invalid integer: {value[:40]}"
        raise invalid(msg, param=where, code="parameter_invalid_integer")
    return int(value)


def _boolean(value: str, where: str) -> bool:
    if value not in ("true", "false"):
        msg = f"Invalid boolean: {value[:40]}"
        raise invalid(msg, param=where)
    return value == "true"


def _decimal(value: str, where: str) -> Decimal:
    if not _DECIMAL.fullmatch(value):
        msg = f"Invalid decimal: {value[:40]}"
        raise invalid(msg, param=where)
    return Decimal(value)


def _string(value: str, where: str) -> str:
    if "\x00" in value:
        msg = f"Invalid string: {where}"
        raise invalid(msg, param=where)
    return value


_SCALARS: Final[Mapping[Any, Callable[[str, str], Any]]] = {
    int: _integer,
    bool: _boolean,
    Decimal: _decimal,
    str: _string,
}


def metadata_fits(metadata: Mapping[str, str]) -> None:
    if len(metadata) > METADATA_KEYS_MAX:
        msg = f"Metadata can hold {METADATA_KEYS_MAX} keys."
        raise invalid(msg, param="metadata")
    for key, value in metadata.items():
        if not 0 < len(key) <= METADATA_KEY_MAX or len(value) > METADATA_VALUE_MAX:
            msg = f"Metadata keys have up to {METADATA_KEY_MAX} characters, values up to 500."
            raise invalid(msg, param=f"metadata[{key[:METADATA_KEY_MAX]}]")
