"""The plan of lines and how too many are folded into one."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.payments.items import REST_KEY, LinePlan, lines_fit, plan_lines
from billing.payments.port import LineDraft, RemoteLine

START = datetime(2026, 11, 1, tzinfo=UTC)


def draft(key: str, amount: int, *, currency: str = "USD", day: int = 0) -> LineDraft:
    return LineDraft(
        line_key=key,
        description=key,
        amount_minor=amount,
        currency=currency,
        starts_at=START + timedelta(days=day),
        ends_at=START + timedelta(days=day + 1),
        body_hash=f"{key}{amount}",
    )


def there(key: str, amount: int, row_id: str) -> RemoteLine:
    return RemoteLine(id=row_id, line_key=key, amount_minor=amount, body_hash=f"{key}{amount}")


@pytest.mark.parametrize(
    ("case", "found", "expected"),
    [
        ("nothing there", [], LinePlan(create=(draft("a", 1),), update=(), delete=())),
        ("all there", [there("a", 1, "ii_1")], LinePlan(create=(), update=(), delete=())),
        (
            "another amount",
            [there("a", 2, "ii_1")],
            LinePlan(create=(), update=(("ii_1", draft("a", 1)),), delete=()),
        ),
        (
            "same amount, other text",
            [RemoteLine(id="ii_1", line_key="a", amount_minor=1, body_hash="other")],
            LinePlan(create=(), update=(("ii_1", draft("a", 1)),), delete=()),
        ),
        (
            "twice, and one that is not ours",
            [there("a", 1, "ii_1"), there("a", 1, "ii_2"), there("", 5, "ii_3")],
            LinePlan(create=(), update=(), delete=("ii_2", "ii_3")),
        ),
    ],
)
def test_the_plan(case: str, found: list[RemoteLine], expected: LinePlan) -> None:
    plan = plan_lines(wanted=[draft("a", 1)], found=found)
    assert plan == expected
    assert plan.is_empty == (case == "all there")


def test_lines_that_fit_stay_as_they_are() -> None:
    lines = (draft("a", 1), draft("b", -1))
    assert lines_fit(lines=lines, body_hash="h", limit=2) == lines


def test_the_smallest_are_folded_and_the_order_of_the_rest_is_kept() -> None:
    lines = [draft("a", 500), draft("b", 1, day=3), draft("c", -2), draft("d", -900)]
    kept = lines_fit(lines=lines, body_hash="h", limit=3)
    assert [(x.line_key, x.amount_minor) for x in kept] == [
        ("a", 500),
        ("d", -900),
        (REST_KEY, -1),
    ]
    assert (kept[-1].starts_at, kept[-1].ends_at) == (START, START + timedelta(days=4))
    assert (kept[-1].description, kept[-1].body_hash) == ("2 further lines", "h")


def test_two_currencies_and_a_key_twice_are_refused() -> None:
    with pytest.raises(ValueError, match="currency"):
        lines_fit(lines=[draft("a", 1), draft("b", 1, currency="EUR")], body_hash="h")
    with pytest.raises(ValueError, match="twice"):
        lines_fit(lines=[draft("a", 1), draft("a", 1)], body_hash="h")


@given(
    amounts=st.lists(st.integers(-(10**9), 10**9), max_size=40),
    limit=st.integers(min_value=1, max_value=10),
)
def test_folding_never_changes_the_sum(amounts: list[int], limit: int) -> None:
    lines = [draft(f"k{index}", amount) for index, amount in enumerate(amounts)]
    kept = lines_fit(lines=lines, body_hash="h", limit=limit)
    assert sum(line.amount_minor for line in kept) == sum(amounts)
    assert len(kept) == min(len(lines), limit)


@given(
    wanted=st.dictionaries(st.sampled_from("abcdef"), st.integers(-9, 9)),
    found=st.lists(st.tuples(st.sampled_from("abcdefg"), st.integers(-9, 9)), max_size=9),
)
def test_carrying_the_plan_out_gives_what_was_wanted(
    wanted: dict[str, int], found: list[tuple[str, int]]
) -> None:
    rows = {f"ii_{n}": there(key, amount, f"ii_{n}") for n, (key, amount) in enumerate(found)}
    lines = [draft(key, amount) for key, amount in wanted.items()]
    plan = plan_lines(wanted=lines, found=list(rows.values()))
    for row_id in plan.delete:
        del rows[row_id]
    for row_id, line in plan.update:
        rows[row_id] = there(line.line_key, line.amount_minor, row_id)
    for line in plan.create:
        rows[f"new_{line.line_key}"] = there(line.line_key, line.amount_minor, "new")
    assert sorted((r.line_key, r.amount_minor) for r in rows.values()) == sorted(wanted.items())
    assert plan_lines(wanted=lines, found=list(rows.values())).is_empty
