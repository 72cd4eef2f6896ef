"""What an admin or a customer may store is what a gateway takes.

A gateway refuses a snapshot as a whole: one value that only it finds wrong would stop every later
change, the end of a leaked key included. So the portal's readers and the gateway's checks are held
against each other here, over values near the edge of what either takes.
"""

import itertools
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.contracts import snapshot as wire
from gateway.core.addresses import parse_networks
from gateway.core.quota import check_quotas
from gateway.core.routing import check_path
from gateway.core.upstreams import compile_upstream
from portal.core.catalog_input import networks_of, read_upstream, route_path_problem
from portal.core.checked_input import Problem
from portal.core.plan_limits import MAX_PERCENT, Limits, limits_to_json, parse_limits
from portal.core.snapshot_build import PlanVersionRow, SnapshotRows, build_snapshot

NOW = datetime(2026, 3, 14, tzinfo=UTC)
HOSTS = ("a", "A.Example", "127.0.0.1", "[::1]", "[::1%eth0]", "[v1.x]", "a\t", "a_b", "-a", "")
ENDS = ("", "/", "?", "#", ":", ":80", ":0", ":65536", ":080", "\n", ":\u0663")


def upstream(targets: dict[str, int], base_path: str = "") -> wire.Upstream | None:
    problems: list[Problem] = []
    read = read_upstream({"name": "u", "targets": targets, "base_path": base_path}, "", problems)
    values = {name: value for name, value in read.items() if name != "name"}
    return None if problems else wire.Upstream(id="u", **values)


def test_targets() -> None:
    taken = 0
    for scheme, host, end in itertools.product(("http://", "https://", "HTTP://"), HOSTS, ENDS):
        found = upstream({f"{scheme}{host}{end}": 1})
        if found is not None:
            compile_upstream(found)
            taken += 1
    assert taken >= 12


@settings(deadline=None, max_examples=30)  # a cycle of 10,000 turns takes its time
@given(
    st.lists(st.integers(0, 1000), min_size=1, max_size=15), st.sampled_from(["", "/v1", "/.."])
)
def test_weights(weights: list[int], base_path: str) -> None:
    found = upstream({f"http://h{n}:80": w for n, w in enumerate(weights)}, base_path)
    if found is not None:
        compile_upstream(found)


@given(st.lists(st.sampled_from(["a", "*", "{a}", "{b}", "", ".", "{", "a*", "~"]), max_size=4))
def test_route_paths(segments: list[str]) -> None:
    path = "/" + "/".join(segments)
    if not route_path_problem(path):
        check_path(path, where="path")


@given(
    st.fixed_dictionaries(
        {"meter": st.just("m"), "quota": st.integers(1, 10)},
        optional={
            name: st.integers(0, MAX_PERCENT)
            for name in ("soft_limit_percent", "buffer_percent", "block_at_percent")
        }
        | {"alerts_at": st.lists(st.integers(0, 120), max_size=3)},
    )
)
def test_quotas(quota: dict[str, Any]) -> None:
    limits = parse_limits({"quotas": [quota]})
    if isinstance(limits, Limits):
        row = PlanVersionRow("pv", "p", "plan", 1, limits_to_json(limits))
        built = build_snapshot(SnapshotRows(plan_versions=[row]), now=NOW, portal_url="")
        assert check_quotas(built.objects["plan_versions"][0].quotas) == ""


@pytest.mark.parametrize(
    ("case", "text"),
    [
        ("no address", "office"),
        ("a zone", "fe80::1%eth0"),
        ("a zone that is no name", "fe80::%\x07/64"),
        ("host bits", "203.0.113.5/24"),
    ],
)
def test_addresses_that_no_key_is_bound_to(case: str, text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text[:4])):
        networks_of([text])


def test_addresses() -> None:
    texts = ["203.0.113.5", "203.0.113.0/24", "2001:db8::/32", "0.0.0.0/0"]
    assert [str(n) for n in parse_networks(networks_of(texts))] == list(networks_of(texts))
    with pytest.raises(ValueError, match="at most"):
        networks_of(texts * 26)
