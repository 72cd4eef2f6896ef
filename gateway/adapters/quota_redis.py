"""Quota counters in Redis: one Lua step per call, any number of workers and nodes.

Owns the port `Quota` on a real Redis. The calls of one loop turn leave in one round trip. Units
that a free outcome gives back are numbered per stream, so that repeating one whose answer was lost
changes nothing.

exactness  never admits more than a limit while Redis keeps its data. A `take` whose answer was
           lost may have been counted; the error is on the safe side and ends with the stream,
           when `settle` sets its fields to what the spool says.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from math import gcd
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from gateway.adapters.quota_memory import (
    KEEP_AFTER_END_US,
    WindowUse,
    crossed_percents,
    window_level,
)
from gateway.adapters.quota_scripts import GIVE_BACK, SETTLE, TAKE
from gateway.core.charges import (
    BucketCharge,
    ChargeRequest,
    Level,
    Refused,
    StoreDown,
    Taken,
    WindowCharge,
)

log = logging.getLogger(__name__)

_EXACT: Final = 2**53  # integers that Lua's doubles hold
_STEPS_US: Final = (1, 1_000, 1_000_000)
_KEEP_BUCKET_MS: Final = 60_000
_GIVE_BACK_KEEP_MS: Final = 7 * 86_400_000
_SETTLED_KEEP_MS: Final = 7 * 86_400_000  # then it is settled once more, which changes nothing
_RETRY_S: Final = 0.2
_CLOSE_WITHIN_S: Final = 2.0

Answer = Taken | Refused | StoreDown


@dataclass(frozen=True, slots=True)
class BucketTerms:
    """A bucket's arithmetic in numbers that Lua holds exactly: `rate` tokens come in `per` steps.

    Time goes in steps of `step_us`: 1, unless burst and period are so large that a microsecond's
    share of a token would not fit; then tokens come by the millisecond or second, never early.
    """

    rate: int
    per: int
    burst: int
    step_us: int

    @classmethod
    def of(cls, charge: BucketCharge) -> "BucketTerms":
        """Choose the finest step; the answers are remembered.

        :raises ValueError: when even seconds do not fit.

        >>> BucketTerms.of(BucketCharge("k", "burst", rate=1000, per_us=60_000_000, burst=100))
        BucketTerms(rate=1, per=60000, burst=100, step_us=1)
        """
        terms = _finest(charge.rate, charge.per_us, charge.burst)
        if terms is None:
            msg = f"bucket {charge.key} is too large: {charge.burst} per {charge.per_us} us"
            raise ValueError(msg)
        return terms

    def wait_us(self, level: int, *, units: int, now_us: int) -> int:
        """Microseconds until `units` tokens are there; beyond `burst`: until it is full."""
        missing = min(units, self.burst) * self.per - level
        if missing <= 0:
            return 0
        steps = now_us // self.step_us + -(-missing // self.rate)
        return steps * self.step_us - now_us


@lru_cache(maxsize=1024)  # plans, not callers: the numbers of a limit, without its key
def _finest(rate: int, per_us: int, burst: int) -> BucketTerms | None:
    for step_us in _STEPS_US:
        per, rest = divmod(per_us, step_us)
        common = gcd(rate, per)
        if not rest and (burst + 1) * (per // common) + rate // common < _EXACT:
            return BucketTerms(rate // common, per // common, burst, step_us)
    return None


class RedisQuota:
    """The port `Quota` for one worker's stream; made inside a running event loop."""

    def __init__(
        self, *, url: str, stream: str, timeout_s: float = 0.5, prefix: str = "tollway:quota:"
    ) -> None:
        self._redis: Redis = Redis.from_url(
            url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),  # a repeated take would count twice
        )
        self._stream = stream
        self._timeout_s = timeout_s
        self._prefix = prefix
        self._settled = f"{prefix}settled:{stream}"
        self._take = self._redis.register_script(TAKE)
        self._give_back = self._redis.register_script(GIVE_BACK)
        self._settle = self._redis.register_script(SETTLE)
        self._turn: list[tuple[list[str], list[Any], asyncio.Future[Any]]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._returns: list[WindowCharge] = []
        self._return_number = 0
        self._returning: asyncio.Task[None] | None = None

    # --- keys ------------------------------------------------------------------------------------

    def _index(self, stream: str) -> str:
        return f"{self._prefix}streams:{stream}"

    def _window(self, key: str) -> str:
        return f"{self._prefix}w:{key}"

    def _bucket(self, key: str, terms: BucketTerms) -> str:
        """Terms are part of the name: a changed limit starts anew."""
        return f"{self._prefix}b:{key}|{terms.rate}/{terms.per}*{terms.step_us}/{terms.burst}"

    # --- taking ----------------------------------------------------------------------------------

    async def take(self, charges: Sequence[ChargeRequest], *, now_us: int) -> Answer:
        """Take all charges or none; units of 0 only ask."""
        return await self._ask("take", charges, now_us=now_us)

    async def peek(self, charges: Sequence[ChargeRequest], *, now_us: int) -> Taken | StoreDown:
        """Read the levels without taking anything."""
        answer = await self._ask("peek", charges, now_us=now_us)
        return Taken(answer.levels) if isinstance(answer, Refused) else answer

    async def _ask(self, mode: str, charges: Sequence[ChargeRequest], *, now_us: int) -> Answer:
        terms = [BucketTerms.of(c) if isinstance(c, BucketCharge) else None for c in charges]
        keys, args = [self._index(self._stream)], [self._stream, mode]
        for charge, bucket in zip(charges, terms, strict=True):
            if bucket is None:
                assert isinstance(charge, WindowCharge)  # noqa: S101 - for the type checker
                self._add_window(keys, args, charge, now_us=now_us)
            else:
                self._add_bucket(keys, args, charge, bucket, now_us=now_us)
        reply = await self._in_this_turn(keys, args)
        if isinstance(reply, str):
            return StoreDown(reply)
        return _read_reply(reply, charges, terms, now_us=now_us, taking=mode == "take")

    def _add_window(
        self, keys: list[str], args: list[Any], charge: WindowCharge, *, now_us: int
    ) -> None:
        keys.append(self._window(charge.key))
        limit = -1 if charge.limit is None else charge.limit
        args += ["w", charge.units, limit, _keep_ms(charge.end_us, now_us=now_us)]

    def _add_bucket(
        self,
        keys: list[str],
        args: list[Any],
        charge: ChargeRequest,
        terms: BucketTerms,
        *,
        now_us: int,
    ) -> None:
        keys.append(self._bucket(charge.key, terms))
        full_ms = -(-terms.burst * terms.per // terms.rate) * terms.step_us // 1000
        args += ["b", charge.units, terms.rate, terms.per, terms.burst]
        args += [now_us // terms.step_us, full_ms + _KEEP_BUCKET_MS]

    async def _in_this_turn(self, keys: list[str], args: list[Any]) -> Any:
        """Let this loop turn's calls leave together; the script's reply, or what went wrong."""
        loop = asyncio.get_running_loop()
        if not self._turn:
            loop.call_soon(self._send_turn)
        reply: asyncio.Future[Any] = loop.create_future()
        self._turn.append((keys, args, reply))
        return await reply

    def _send_turn(self) -> None:
        calls, self._turn = self._turn, []
        task = asyncio.create_task(self._run(calls))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, calls: list[tuple[list[str], list[Any], asyncio.Future[Any]]]) -> None:
        replies: list[Any] = ["no reply"] * len(calls)
        try:
            async with asyncio.timeout(self._timeout_s):
                replies = await self._pipelined(calls)
        except (RedisError, OSError, TimeoutError) as error:
            replies = [f"{type(error).__name__}: {error}"] * len(calls)
        finally:  # whatever went wrong, nobody waits for ever with an open admission
            for (_, _, future), reply in zip(calls, replies, strict=True):
                if not future.done():
                    future.set_result(str(reply) if isinstance(reply, Exception) else reply)

    async def _pipelined(self, calls: Sequence[tuple[list[str], list[Any], Any]]) -> list[Any]:
        replies = await self._once(calls)
        if any(isinstance(reply, NoScriptError) for reply in replies):  # Redis is a new one
            await self._redis.script_load(TAKE)
            again = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
            for i, reply in zip(again, await self._once([calls[i] for i in again]), strict=True):
                replies[i] = reply
        return replies

    async def _once(self, calls: Sequence[tuple[list[str], list[Any], Any]]) -> list[Any]:
        pipe = self._redis.pipeline(transaction=False)
        for keys, args, _ in calls:
            pipe.evalsha(self._take.sha, len(keys), *keys, *args)  # type: ignore[unused-awaitable]
        return list(await pipe.execute(raise_on_error=False))

    # --- giving back -----------------------------------------------------------------------------

    async def give_back(self, charges: Sequence[WindowCharge]) -> None:
        """Return units to the same windows, soon and exactly once; never raises."""
        self._returns += [charge for charge in charges if charge.units]
        if self._returns and self._returning is None:
            self._returning = asyncio.create_task(self._return_all())

    async def _return_all(self) -> None:
        await asyncio.sleep(0)  # what this loop turn gives back goes together
        while self._returns:
            batch, self._returns = self._returns, []
            self._return_number += 1
            await self._return(batch, number=self._return_number)
        self._returning = None

    async def _return(self, batch: Sequence[WindowCharge], *, number: int) -> None:
        """Send a give-back until its answer comes; its number lets it count once."""
        while True:
            if await self._try_return(batch, number=number):
                return
            await asyncio.sleep(_RETRY_S)

    async def _try_return(self, batch: Sequence[WindowCharge], *, number: int) -> bool:
        keys = [f"{self._prefix}returned:{self._stream}", *(self._window(c.key) for c in batch)]
        args: list[Any] = [
            self._stream,
            number,
            _GIVE_BACK_KEEP_MS,
            *(charge.units for charge in batch),
        ]
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._give_back(keys=keys, args=args)
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("quota: giving back %d charges waits: %s", len(batch), error)
            return False
        return True

    # --- boot and end ----------------------------------------------------------------------------

    async def settle(self, streams: Mapping[str, Mapping[str, WindowUse]], *, now_us: int) -> None:
        """Set the fields of dead streams to what their spool says (`SpoolKeeper.rebuild`).

        Repeating it changes nothing.

        :raises redis.exceptions.RedisError: or OSError, when Redis is away: try again later.
        """
        for stream, uses in streams.items():
            keys, args = [self._index(stream)], [f"{stream}"]
            for key, use in uses.items():
                keys.append(self._window(key))
                args += [str(use.units), str(_keep_ms(use.end_us, now_us=now_us))]
            await self._settle(keys=keys, args=args)
        await self._redis.set(self._settled, b"1", px=_SETTLED_KEEP_MS)

    async def is_settled(self) -> bool:
        """False before `settle`, and again when Redis has lost its data since.

        :raises redis.exceptions.RedisError: or OSError, when Redis is away.
        """
        return bool(await self._redis.exists(self._settled))

    async def close(self) -> None:
        """Give back what is due, within two seconds, and close the connections."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_WITHIN_S):
                while self._returning is not None or self._tasks:
                    await asyncio.wait([t for t in (self._returning, *self._tasks) if t])
        if self._returning is not None:
            self._returning.cancel()
        await self._redis.aclose()


def _keep_ms(end_us: int, *, now_us: int) -> int:
    return (max(0, end_us - now_us) + KEEP_AFTER_END_US) // 1000


def _read_reply(
    reply: Sequence[int],
    charges: Sequence[ChargeRequest],
    terms: Sequence[BucketTerms | None],
    *,
    now_us: int,
    taking: bool,
) -> Taken | Refused:
    """Turn a script's numbers into levels, and into who refuses or what was crossed."""
    levels: list[Level] = []
    crossed: list[tuple[int, int]] = []
    for index, (charge, bucket) in enumerate(zip(charges, terms, strict=True)):
        first, before, after = reply[1 + 3 * index : 4 + 3 * index]
        if bucket is not None:
            full_us = bucket.wait_us(first, units=bucket.burst, now_us=now_us)
            levels.append(Level(first // bucket.per, 0, full_us))
        elif isinstance(charge, WindowCharge):
            levels.append(window_level(charge, used=first, now_us=now_us))
            crossed += [(index, p) for p in crossed_percents(charge, before=before, after=after)]
    if not reply[0]:
        return Taken(tuple(levels), tuple(crossed) if taking else ())
    index = reply[0] - 1
    charge, bucket = charges[index], terms[index]
    if bucket is not None:
        wait_us = bucket.wait_us(reply[1 + 3 * index], units=charge.units, now_us=now_us)
    else:
        wait_us = levels[index].reset_us
    return Refused(index, max(1, wait_us), tuple(levels))
