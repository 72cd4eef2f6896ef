"""The schema that is read out of the library: routes exist, types and enumerations hold."""

import re
from pathlib import Path

import pytest

from billing.payments.sandbox.forms import decode
from billing.payments.sandbox.problems import Problem
from billing.payments.sandbox.routes import ROUTES, Route
from billing.payments.sandbox.schema import check, operations, parameters, shape


def checked(verb: str, path: str, form: str) -> dict[str, object]:
    return check(operation=operations()[verb, path], form=decode(form))


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_every_route_is_an_operation_and_takes_parameters_it_has(route: Route) -> None:
    operation = operations()[route.verb, shape(route.path)]
    known = parameters(operation).__annotations__
    assert route.takes - {"expand"} <= known.keys()


def test_values_arrive_as_their_types() -> None:
    form = "auto_advance=false&days_until_due=14&metadata[a]=b&expand[0]=x&account_tax_ids="
    assert checked("POST", "/v1/invoices", form) == {
        "auto_advance": False,
        "days_until_due": 14,
        "metadata": {"a": "b"},
        "expand": ["x"],
        "account_tax_ids": "",
    }


def test_a_union_takes_each_of_its_forms() -> None:
    assert checked("GET", "/v1/invoices", "created=5") == {"created": 5}
    assert checked("GET", "/v1/invoices", "created[gte]=5") == {"created": {"gte": 5}}


@pytest.mark.parametrize(
    "form",
    [
        "colour=red",
        "auto_advance=1",
        "days_until_due=1.5",
        "pending_invoice_items_behavior=maybe",
        "collection_method=",
        "metadata=x",
        "metadata[a][b]=c",
        "expand=x",
        "expand[1]=x&expand[a]=y",
        "days_until_due[a]=1",
        "automatic_tax[enabled]=yes",
        "automatic_tax[colour]=red",
        "automatic_tax[liability][account]=acct",
        "idempotency_key=k",
    ],
)
def test_what_the_library_does_not_describe_is_refused(form: str) -> None:
    with pytest.raises(Problem) as caught:
        checked("POST", "/v1/invoices", form)
    assert (caught.value.status, caught.value.kept) == (400, False)


def test_nothing_of_the_product_knows_the_double() -> None:
    """Only tests and the process itself import it; the adapter is told an address."""
    root = Path(__file__).parents[5]
    pattern = re.compile(r"billing\.payments\.sandbox|payments import sandbox")
    found = [
        path
        for room in ("billing", "portal", "metering", "gateway")
        for path in (root / room).rglob("*.py")
        if "payments/sandbox" not in path.as_posix() and pattern.search(path.read_text())
    ]
    assert found == []
