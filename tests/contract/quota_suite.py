"""The contract of the port `Quota`: one suite for memory, Redis and any fake.

Subclass `QuotaContract` in a test module and provide the fixture `open_quota`: a function that
returns a new port for a stream name, on counters that only this test sees.
"""

import asyncio
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Final

import pytest

from gateway.core.charges import (
    BucketCharge,
    ChargeRequest,
    Refused,
    StoreDown,
    Taken,
    WindowCharge,
)
from gateway.ports import Quota

OpenQuota = Callable[[str], Quota]

START: Final = 1_800_000_000_000_000
DAY: Final = 86_400_000_000


def window(
    *,
    units: int = 1,
    limit: int | None = 10,
    quota: int = 10,
    key: str = "sub_1|requests",
    start_us: int = START,
    alerts_at: tuple[int, ...] = (),
) -> WindowCharge:
    name = f"{key}|{start_us}"
    return WindowCharge(name, "requests", start_us, start_us + DAY, quota, limit, units, alerts_at)


def bucket(
    *, rate: int = 2, per_us: int = 1_000_000, burst: int = 3, units: int = 1, key: str = "sub_1|b"
) -> BucketCharge:
    return BucketCharge(key, "burst", rate, per_us, burst, units)


async def taken(quota: Quota, *charges: ChargeRequest, now_us: int = START) -> Taken:
    answer = await quota.take(charges, now_us=now_us)
    assert isinstance(answer, Taken), answer
    return answer


async def refused(quota: Quota, *charges: ChargeRequest, now_us: int = START) -> Refused:
    answer = await quota.take(charges, now_us=now_us)
    assert isinstance(answer, Refused), answer
    return answer


async def used(quota: Quota, charge: WindowCharge) -> int:
    answer = await quota.peek([charge], now_us=charge.start_us)
    assert isinstance(answer, Taken)
    return answer.levels[0].used


class BucketOracle:
    """A token bucket in fractions, written without a thought for speed."""

    def __init__(self, charge: BucketCharge) -> None:
        self.charge = charge
        self.tokens = Fraction(charge.burst)
        self.at_us: int | None = None

    def take(self, units: int, *, now_us: int) -> bool:
        if self.at_us is not None and now_us > self.at_us:
            came = Fraction((now_us - self.at_us) * self.charge.rate, self.charge.per_us)
            self.tokens = min(Fraction(self.charge.burst), self.tokens + came)
        self.at_us = max(now_us, self.at_us or 0)
        if units > self.tokens:
            return False
        self.tokens -= units
        return True


class QuotaContract:
    """What every adapter of the port does."""

    async def test_a_window_lets_its_limit_through(self, open_quota: OpenQuota) -> None:
        quota = open_quota("s1")
        for n in range(1, 11):
            level = (await taken(quota, window())).levels[0]
            assert (level.used, level.remaining, level.reset_us) == (n, 10 - n, DAY)
        answer = await refused(quota, window(), now_us=START + 1_000)
        assert (answer.index, answer.retry_after_us) == (0, DAY - 1_000)
        assert (answer.levels[0].used, answer.levels[0].remaining) == (10, 0)

    async def test_a_refusal_consumes_nothing(self, open_quota: OpenQuota) -> None:
        quota = open_quota("s1")
        tight = window(limit=1, key="sub_1|exports")
        await taken(quota, tight)
        for _ in range(3):
            answer = await refused(quota, window(), bucket(), tight)
            assert answer.index == 2
            assert answer.levels[0].used == 0
            assert answer.levels[1].remaining == 3
        assert await used(quota, window()) == 0

    async def test_the_first_that_refuses_is_named(self, open_quota: OpenQuota) -> None:
        quota = open_quota("s1")
        answer = await refused(quota, window(), window(limit=0, key="a"), window(limit=0, key="b"))
        assert answer.index == 1

    async def test_units_above_what_is_left_are_refused_whole(self, open_quota: OpenQuota) -> None:
        quota = open_quota("s1")
        await taken(quota, window(units=7))
        await refused(quota, window(units=4))
        assert (await taken(quota, window(units=3))).levels[0].remaining == 0

    async def test_zero_units_only_ask(self, open_quota: OpenQuota) -> None:
        quota = open_quota("s1")
        await taken(quota, window(units=10), bucket(units=3))
        answer = await taken(quota, window(units=0), bucket(units=0))
        assert (answer.levels[0].used, answer.levels[1].remaining) == (10, 0)

    async def test_without_a_limit_it_only_counts(self, open_quota: OpenQuota) -> None:
        quota = open_quota("s1")
        answer = await taken(quota, window(units=25, limit=None))
        assert (answer.levels[0].used, answer.levels[0].remaining) == (25, 0)

    async def test_a_limit_above_the_quota_is_the_ceiling(self, open_quota: OpenQuota) -> None:
        quota = open_quota("s1")
        answer = await taken(quota, window(units=11, limit=12))
        assert (answer.levels[0].used, answer.levels[0].remaining) == (11, 1)
        await refused(quota, window(units=2, limit=12))

    async def test_units_come_back_to_the_same_window(self, open_quota: OpenQuota) -> None:
        quota = open_quota("s1")
        await taken(quota, window(units=10))
        await refused(quota, window())
        await quota.give_back([window(units=4)])
        await self.settled(quota, window(), 6)
        await taken(quota, window(units=4))
        await refused(quota, window())

    async def settled(self, quota: Quota, charge: WindowCharge, units: int) -> None:
        """Wait for a give-back: the port promises it soon, not at once."""
        async with asyncio.timeout(5):
            while True:
                if await used(quota, charge) == units:
                    return
                await asyncio.sleep(0.01)

    async def test_giving_back_to_no_window_is_nothing(self, open_quota: OpenQuota) -> None:
        quota = open_quota("s1")
        await quota.give_back([window(units=4)])
        await quota.close()  # waits for what is to be returned, which happens soon, not at once
        quota = open_quota("s1")
        await taken(quota, window(units=10))
        await refused(quota, window())

    async def test_windows_are_half_open(self, open_quota: OpenQuota) -> None:
        """The last microsecond belongs to the window, its end to the next one."""
        quota = open_quota("s1")
        this, following = window(units=10), window(units=10, start_us=START + DAY)
        last = (await taken(quota, this, now_us=START + DAY - 1)).levels[0]
        assert last.reset_us == 1
        assert (await refused(quota, this, now_us=START + DAY - 1)).retry_after_us == 1
        assert (await taken(quota, following, now_us=START + DAY)).levels[0].used == 10

    async def test_thresholds_are_crossed_at_the_exact_count_once(
        self, open_quota: OpenQuota
    ) -> None:
        quota = open_quota("s1")
        charge = window(alerts_at=(80, 95, 100))
        crossed = [(await taken(quota, charge)).crossed for _ in range(10)]
        assert crossed == [(), (), (), (), (), (), (), ((0, 80),), (), ((0, 95), (0, 100))]
        await quota.give_back([window(units=5)])
        await self.settled(quota, window(), 5)
        assert [(await taken(quota, charge)).crossed for _ in range(5)] == [()] * 5

    async def test_peeking_changes_nothing(self, open_quota: OpenQuota) -> None:
        quota = open_quota("s1")
        await taken(quota, window(units=4), bucket())
        for _ in range(3):
            answer = await quota.peek([window(), bucket()], now_us=START)
            assert isinstance(answer, Taken)
            assert answer.levels[0].used == 4
            assert answer.levels[1].remaining == 2
            assert answer.crossed == ()
        await taken(quota, window(units=6))
        assert isinstance(await quota.peek([window()], now_us=START), Taken)

    async def test_a_bucket_gives_its_burst_then_its_rate(self, open_quota: OpenQuota) -> None:
        quota = open_quota("s1")
        charge = bucket(rate=2, per_us=1_000_000, burst=3)
        for left in (2, 1, 0):
            assert (await taken(quota, charge)).levels[0].remaining == left
        assert (await refused(quota, charge)).retry_after_us == 500_000
        assert (await refused(quota, charge, now_us=START + 499_999)).retry_after_us == 1
        level = (await taken(quota, charge, now_us=START + 500_000)).levels[0]
        assert (level.remaining, level.reset_us) == (0, 1_500_000)

    async def test_a_bucket_keeps_thirds_of_a_microsecond(self, open_quota: OpenQuota) -> None:
        quota = open_quota("s1")
        charge = bucket(rate=3, per_us=10, burst=2)
        await taken(quota, bucket_like(charge, 2))
        assert (await refused(quota, charge, now_us=START + 3)).retry_after_us == 1
        await taken(quota, charge, now_us=START + 4)
        await refused(quota, charge, now_us=START + 6)
        await taken(quota, charge, now_us=START + 7)  # 2.1 tokens in 7 us
        await taken(quota, charge, now_us=START + 10)  # exactly 3 in 10 us

    async def test_time_that_steps_back_brings_no_token(self, open_quota: OpenQuota) -> None:
        quota = open_quota("s1")
        await taken(quota, bucket(units=3))
        await refused(quota, bucket(), now_us=START - 60_000_000)
        await refused(quota, bucket(), now_us=START + 499_999)
        await taken(quota, bucket(), now_us=START + 500_000)

    async def test_more_than_the_burst_never_fits(self, open_quota: OpenQuota) -> None:
        quota = open_quota("s1")
        assert (await refused(quota, bucket(units=4))).retry_after_us >= 1

    async def test_concurrent_takes_let_exactly_the_limit_through(
        self, open_quota: OpenQuota
    ) -> None:
        quota = open_quota("s1")
        charge = window(limit=100, quota=100)
        answers = await asyncio.gather(*(quota.take([charge], now_us=START) for _ in range(200)))
        assert sum(isinstance(answer, Taken) for answer in answers) == 100
        assert not any(isinstance(answer, StoreDown) for answer in answers)
        assert await used(quota, charge) == 100

    @pytest.mark.parametrize("seed", range(12))
    async def test_buckets_agree_with_fractions(self, open_quota: OpenQuota, seed: int) -> None:
        quota = open_quota("s1")
        charge, calls = bucket_calls(seed)
        oracle = BucketOracle(charge)
        now_us = START
        for gap_us, units in calls:
            now_us += gap_us
            answer = await quota.take([bucket_like(charge, units)], now_us=now_us)
            assert isinstance(answer, Taken) == oracle.take(units, now_us=now_us)
            assert answer.levels[0].remaining == oracle.tokens // 1  # type: ignore[union-attr]


def bucket_like(charge: BucketCharge, units: int) -> BucketCharge:
    return BucketCharge(charge.key, charge.name, charge.rate, charge.per_us, charge.burst, units)


def bucket_calls(seed: int) -> tuple[BucketCharge, Sequence[tuple[int, int]]]:
    """Make up odd terms and calls near the edges: a plain congruential sequence, no randomness."""
    state = seed * 2_654_435_761 + 12_345

    def pick(bound: int) -> int:
        nonlocal state
        state = (state * 6_364_136_223_846_793_005 + 1_442_695_040_888_963_407) % 2**64
        return (state >> 33) % bound

    per_us = (7, 1_000_000, 60_000_000, 3_600_000_000)[pick(4)]
    charge = bucket(rate=1 + pick(997), per_us=per_us, burst=1 + pick(50))
    token_us = max(1, charge.per_us // charge.rate)
    return charge, [(pick(3 * token_us), 1 + pick(3)) for _ in range(120)]
