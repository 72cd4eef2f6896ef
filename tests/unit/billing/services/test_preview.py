"""Worked examples show only months that the plan lets happen."""

from typing import Any

import pytest

from billing.services.preview import included_units, worked_quantities
from portal.models import PlanVersion

CALLS: dict[str, Any] = {"key": "calls", "meter": "requests", "model": "per_unit"}


def version(*quotas: dict[str, Any], priced: bool = True) -> PlanVersion:
    prices = [CALLS | {"unit_amount": "0.01"}] if priced else []
    held = [{"meter": "requests", **quota} for quota in quotas]
    return PlanVersion(currency="USD", terms={"prices": prices}, limits={"quotas": held})


@pytest.mark.parametrize(
    ("quotas", "wanted"),
    [
        ([], (0, 1_000, 1_001, 10_000)),
        ([{"quota": 500, "block_at_percent": 0}], (0, 500, 501, 1_000, 5_000)),
        ([{"quota": 500}], (0, 500)),
        ([{"quota": 5_000, "block_at_percent": "120"}], (0, 1_000, 5_000, 5_001)),
        ([{"quota": 500, "window": "day"}], (0, 1_000, 1_001, 10_000)),
    ],
)
def test_quantities_end_where_the_plan_blocks(
    quotas: list[dict[str, Any]], wanted: tuple[int, ...]
) -> None:
    assert worked_quantities(version(*quotas)) == wanted


def test_a_free_plan_is_shown_up_to_its_quota() -> None:
    assert worked_quantities(version({"quota": 1_000}, priced=False)) == (0, 1_000)


def test_what_a_day_allows_is_not_what_a_month_includes() -> None:
    assert included_units(version({"quota": 70, "window": "day"}), "requests") == 1_000
    assert included_units(version({"quota": 70}), "requests") == 70
