"""The bench's arithmetic, and what makes a run invalid."""

import json

import pytest

from tests.bench.arithmetic import (
    NoSamplesError,
    Spread,
    ages,
    paired_ratios,
    percentile,
    spread_of,
    steps,
)
from tests.bench.gateway_part import check_recorded
from tests.bench.rating_part import check_answers
from tests.bench.report import (
    InvalidRunError,
    Report,
    as_json,
    as_markdown,
    as_table,
    figures,
    number,
)
from tests.bench.sink_part import check_rows
from tests.bench.wrk import Load, parse_output


def test_the_median_of_an_even_number_lies_between() -> None:
    assert spread_of([4.0, 1.0, 2.0, 10.0]) == Spread(3.0, 1.0, 10.0, 4)


@pytest.mark.parametrize(
    ("percent", "expected"),
    [(0, 1.0), (1, 1.0), (50, 50.0), (99, 99.0), (99.5, 100.0), (100, 100.0)],
)
def test_percentiles_are_measured_values(percent: float, expected: float) -> None:
    assert percentile([float(n) for n in range(100, 0, -1)], percent) == expected


def test_ratios_are_taken_inside_each_round() -> None:
    assert paired_ratios([1.0, 9.0], [2.0, 3.0]) == [0.5, 3.0]
    with pytest.raises(ValueError, match="longer"):
        paired_ratios([1.0], [2.0, 3.0])


def test_nothing_measured_is_no_figure() -> None:
    with pytest.raises(NoSamplesError):
        spread_of([])
    with pytest.raises(NoSamplesError):
        percentile([], 50)


def test_a_call_ages_until_the_first_poll_that_counts_it() -> None:
    answered = [10.0, 30.0, 50.0, 70.0]
    polls = [(20.0, 0), (40.0, 1), (60.0, 3), (65.0, 4)]
    assert ages(answered, polls) == [30.0, 30.0, 10.0, 0.0]  # the last was counted before
    assert steps([at for at, _ in polls]) == [20.0, 20.0, 5.0]


def test_wrk_output() -> None:
    text = 'x\nJSON{"requests":500,"duration_us":2000000,"failed":%d,"p50_us":7,"p99_us":9}\n'
    load = parse_output(text % 0)
    assert load == Load(500, 2_000_000, 7, 9)
    assert load.per_s == 250
    for wrong in (text % 1, "unable to connect", (text % 0).replace("500", "0")):
        with pytest.raises(InvalidRunError):
            parse_output(wrong)


@pytest.mark.parametrize(
    ("recorded", "valid"), [(99, False), (100, True), (148, True), (149, False)]
)
def test_a_lost_or_doubled_request_makes_a_run_invalid(recorded: int, valid: bool) -> None:
    if valid:
        check_recorded("one", recorded=recorded, acknowledged=100, in_flight=48)
        return
    with pytest.raises(InvalidRunError, match="100 were acknowledged"):
        check_recorded("one", recorded=recorded, acknowledged=100, in_flight=48)


def test_other_invalid_runs() -> None:
    check_rows((5, 5), rows=5)
    for found in ((4, 4), (6, 5)):
        with pytest.raises(InvalidRunError):
            check_rows(found, rows=5)
    with pytest.raises(InvalidRunError, match="differently"):
        check_answers([{"total_minor": 1}], [{"total_minor": 2}])
    with pytest.raises(InvalidRunError, match="refused"):
        check_answers([{"errors": []}], [{"errors": []}])


def test_the_three_ways_to_write_a_report() -> None:
    found = figures("sink", [("events a second", Spread(123456.0, 0.25, 12.34, 3), "1/s")])
    report = Report({"CPU": "one"}, {"rounds": 3}, tuple(found), ("Kafka: no Java",))
    assert "sink  events a second  123,456   0.250     12.3     3  1/s" in as_table(report)
    assert "| sink | events a second | 123,456 | 0.250 | 12.3 | 3 | 1/s |" in as_markdown(report)
    assert "skipped: Kafka: no Java" in as_markdown(report)
    assert json.loads(as_json(report))["figures"][0]["spread"]["median"] == 123456.0
    assert number(-1234.5) == "-1,234"
