"""Each part of the bench, tiny: it runs, checks itself and gives figures. Times are not judged."""

from pathlib import Path

import pytest

from tests.bench.freshness_part import run_freshness
from tests.bench.gateway_part import run_gateway
from tests.bench.machine import ToolMissingError, machine_facts, tool
from tests.bench.rating_part import run_rating
from tests.bench.sink_part import run_sink
from tests.servers import skip_or_fail

pytestmark = pytest.mark.timeout(180)


def test_gateway(tmp_path: Path) -> None:
    try:
        tool("nginx"), tool("wrk")
    except ToolMissingError as error:
        skip_or_fail(str(error))
    found, _ = run_gateway(tmp_path, rounds=1, seconds=1, keys=100)
    parts = {figure.part for figure in found}
    assert {"gateway: nginx", "gateway: tollway", "gateway: tollway / nginx"} <= parts
    assert all(figure.spread.median > 0 for figure in found if "above" not in figure.name)


def test_sink(tmp_path: Path) -> None:
    found, skipped = run_sink(tmp_path, rounds=1, events=40_000)
    if skipped:
        skip_or_fail(*skipped)
    assert [figure.name.split()[0] for figure in found] == ["spool", "Kafka"]
    assert all(figure.spread.median > 0 for figure in found)


def test_freshness(tmp_path: Path) -> None:
    found, skipped = run_freshness(
        tmp_path, rounds=1, calls=3, paced_calls=20, modes=("embedded",)
    )
    assert {figure.part for figure in found} == {"freshness, embedded"}
    assert skipped == []
    medians = {figure.name: figure.spread.median for figure in found}
    assert len(medians) == len(found) == 7
    assert min(medians.values()) >= 0
    assert medians["call to usage query, p50"] > 0
    assert medians["at 50/s: call to usage query, p99"] > 0


def test_rating(tmp_path: Path) -> None:
    found, _ = run_rating(tmp_path, rounds=1, count=50)
    assert [figure.spread.runs for figure in found] == [1, 1, 1]


def test_machine_facts_hold_no_path(tmp_path: Path) -> None:
    assert str(tmp_path) not in str(machine_facts(tmp_path))
