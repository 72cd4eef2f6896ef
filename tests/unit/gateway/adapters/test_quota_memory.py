"""Bucket arithmetic against fractions, and what the memory counters forget."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.adapters.quota_memory import KEEP_AFTER_END_US, MemoryQuota, WindowUse
from gateway.adapters.quota_redis import BucketTerms
from gateway.core.charges import BucketCharge, Taken
from tests.contract.quota_suite import (
    DAY,
    START,
    BucketOracle,
    bucket,
    bucket_like,
    refused,
    taken,
    used,
    window,
)

terms = st.builds(
    lambda rate, per_us, burst: bucket(rate=rate, per_us=per_us, burst=burst),
    st.integers(1, 10_000),
    st.integers(1, 86_400_000_000),
    st.integers(1, 1_000),
)


@given(terms, st.lists(st.tuples(st.integers(-1_000, 10_000_000), st.integers(0, 5)), max_size=40))
async def test_a_bucket_is_exactly_the_fraction(
    charge: BucketCharge, calls: list[tuple[int, int]]
) -> None:
    quota, oracle, now_us = MemoryQuota(), BucketOracle(charge), START
    for gap_us, units in calls:
        now_us += gap_us
        answer = await quota.take([bucket_like(charge, units)], now_us=now_us)
        assert isinstance(answer, Taken) == oracle.take(units, now_us=now_us)
        assert answer.levels[0].remaining == oracle.tokens // 1


@given(terms)
async def test_retry_after_is_the_first_instant_that_passes(charge: BucketCharge) -> None:
    quota = MemoryQuota()
    await taken(quota, bucket_like(charge, charge.burst))
    wait_us = (await refused(quota, charge)).retry_after_us
    if wait_us > 1:
        await refused(quota, charge, now_us=START + wait_us - 1)
    await taken(quota, charge, now_us=START + wait_us)


@given(terms)
def test_lua_can_hold_every_bucket(charge: BucketCharge) -> None:
    held = BucketTerms.of(charge)
    assert (held.burst + 1) * held.per + held.rate < 2**53
    assert held.rate * charge.per_us == charge.rate * held.per * held.step_us


def test_a_huge_bucket_counts_time_in_coarser_steps() -> None:
    day = bucket(rate=999_983, per_us=DAY, burst=1_000_000)
    assert BucketTerms.of(day).step_us == 1_000


async def test_counters_start_from_what_streams_used() -> None:
    quota = MemoryQuota()
    use = WindowUse(4, START + DAY)
    quota.restore([{window().key: use}, {window().key: use}])
    assert await used(quota, window()) == 8
    answer = await taken(quota, window(units=2, alerts_at=(80, 90)))
    assert answer.crossed == ((0, 90),)  # 80 was crossed before the restart
    await refused(quota, window())


async def test_windows_are_forgotten_after_their_end() -> None:
    quota = MemoryQuota()
    await taken(quota, window(units=10))
    later = START + DAY + KEEP_AFTER_END_US
    for _ in range(10_000):
        await quota.take([window(units=0, start_us=START + DAY)], now_us=later)
    assert await used(quota, window()) == 0
