"""Refused by a limit, or by our own trouble: status, headers, event, and nothing consumed."""

import asyncio
import json

from gateway.contracts.access_log import Charge, Kind
from gateway.contracts.snapshot import Quota
from gateway.core.compile import Options
from tests.factories.snapshots import LIVE_KEY, build_plan, build_snapshot
from tests.integration.gateway.rig import Rig, running

_REQUEST = f"GET /v1/x HTTP/1.1\r\nHost: h\r\nX-API-Key: {LIVE_KEY}\r\n\r\n".encode()


def _quota(limit: int, **changes: object) -> object:
    quota = Quota(meter="requests", quota=limit, **changes)  # type: ignore[arg-type]
    return build_plan(quotas=(quota,), rate_limits=build_plan().rate_limits)


async def test_429_rate_limited() -> None:
    async with running() as rig:
        statuses = [(await rig.get()).status for _ in range(50)]
        assert statuses == [200] * 50
        answer = await rig.get()
        assert answer.status == 429
        problem = json.loads(answer.body)
        assert problem["code"] == "rate_limited"
        assert problem["violated-policies"] == ["burst"]
        assert problem["type"].endswith("#quota-exceeded")
        assert "upgrade_url" not in problem
        assert answer.headers["retry-after"] == "1"
        assert answer.headers["x-ratelimit-remaining"] == "0"
        assert answer.headers["x-ratelimit-reset"] == "1"
        event = rig.spool.events[-1]
        assert (event.decision, event.status, event.charge) == ("rate_limited", 429, Charge.FREE)
        assert event.quantities == {}
        assert sum(rig.quota.used.values()) == 50
        rig.clock.us += 100_000
        assert (await rig.get()).status == 200
        assert not rig.spool.open


async def test_429_quota_exceeded_names_the_way_out() -> None:
    async with running(plan=_quota(3)) as rig:
        assert [(await rig.get()).status for _ in range(4)] == [200, 200, 200, 429]
        answer = await rig.get()
        problem = json.loads(answer.body)
        assert problem["code"] == "quota_exceeded"
        assert problem["upgrade_url"] == "https://portal.example/upgrade"
        assert int(answer.headers["retry-after"]) >= int(answer.headers["x-ratelimit-reset"]) > 0
        assert len(rig.upstream.heads) == 3


async def test_graduated_response_and_exact_alerts() -> None:
    plan = _quota(10, buffer_percent=120, block_at_percent=150, alerts_at=(80, 100))
    async with running(plan=plan) as rig:
        states = [
            (await rig.get()).headers.get("tollway-quota-state", "blocked") for _ in range(16)
        ]
        assert states == ["included"] * 10 + ["buffer"] * 2 + ["overage"] * 3 + ["blocked"]
        alerts = [event for event in rig.spool.events if event.kind is Kind.THRESHOLD]
        assert [alert.percent for alert in alerts] == [80, 100]
        assert alerts[0].window_end is not None


async def test_usage_says_what_the_headers_say() -> None:
    async with running(plan=_quota(20)) as rig:
        await rig.get()
        await rig.get()
        answer = await rig.get()
        usage = json.loads((await rig.get("/me/usage")).body)
        (entry,) = usage["usage"]
        (meter,) = entry["meters"]
        assert (meter["limit"], meter["used"], meter["remaining"]) == (20, 3, 17)
        assert answer.headers["x-ratelimit-limit"] == str(meter["limit"])
        assert answer.headers["x-ratelimit-remaining"] == str(meter["remaining"])
        assert answer.headers["x-ratelimit-reset"] == str(meter["reset"])
        again = json.loads((await rig.get("/me/usage")).body)
        assert again["usage"] == usage["usage"]  # asking costs nothing
        assert len(rig.spool.lines) == 3


async def test_flood_of_refusals_becomes_one_event_a_second() -> None:
    async with running(plan=_quota(0)) as rig:
        for _ in range(130):
            assert (await rig.get()).status == 429
        rig.proxy.flush_refusals()
        assert len(rig.spool.lines) == 100
        assert len(rig.spool.open) == 1  # holds the watermark for the roll-up
        rig.clock.us += 1_000_000
        rig.proxy.flush_refusals()
        rollup = rig.spool.events[-1]
        assert (rollup.kind, rollup.refusals) == (Kind.REFUSALS, {"quota_exceeded": 30})
        assert rollup.credential_id == "cred-live"
        assert not rig.spool.open


async def _code(rig: Rig) -> tuple[int, str]:
    answer = await rig.get()
    return answer.status, json.loads(answer.body)["code"]


async def test_503_when_usage_cannot_be_recorded() -> None:
    async with running() as rig:
        rig.spool.room = False
        assert await _code(rig) == (503, "metering_unavailable")
        rig.spool.full = True
        assert await _code(rig) == (503, "metering_unavailable")
        rig.spool.room = True
        assert await _code(rig) == (503, "metering_unavailable")
        assert sum(rig.quota.used.values()) == 0
        rig.spool.full = False
        assert (await rig.get()).status == 200
        assert not rig.spool.open


async def test_503_when_the_quota_store_is_away_unless_the_plan_stays_open() -> None:
    async with running() as rig:
        rig.quota.down = True
        assert await _code(rig) == (503, "quota_unavailable")
        assert not rig.upstream.heads
        rig.apply(build_snapshot(upstream_url=rig.upstream.url, plan=build_plan(fail_open=True)))
        answer = await rig.get()
        assert answer.status == 200
        assert "x-ratelimit-limit" not in answer.headers
        assert rig.spool.events[-1].charge is Charge.BILLED
        assert (await rig.get("/me/usage")).status == 503


async def test_broken_disk_acknowledges_nothing_and_ends_the_worker() -> None:
    async with running() as rig:
        rig.spool.broken = True
        assert await rig.raw(_REQUEST) == b""
        assert rig.fatal == ["the disk is gone"]


async def test_exception_in_a_policy_is_500_and_never_a_pass() -> None:
    async with running() as rig:

        async def explode(*_: object, **__: object) -> None:
            raise RuntimeError("bug")

        rig.quota.take = explode  # type: ignore[assignment]
        assert await _code(rig) == (500, "policy_error")
        assert not rig.upstream.heads
        assert not rig.spool.open
        assert rig.stats.policy_errors == 1


async def test_bug_behind_admission_gives_the_units_back() -> None:
    async with running() as rig:

        async def explode(*_: object) -> None:
            raise RuntimeError("bug")

        rig.upstreams.open = explode  # type: ignore[method-assign,assignment]
        assert await _code(rig) == (500, "policy_error")
        assert sum(rig.quota.used.values()) == 0
        assert not rig.spool.open


async def test_limit_headers_can_be_hidden() -> None:
    async with running(options=Options(show_limits=False)) as rig:
        answer = await rig.get()
        assert not {"x-ratelimit-limit", "ratelimit", "ratelimit-policy"} & set(answer.headers)
        assert "x-request-id" in answer.headers


async def test_answer_waits_for_the_durable_event() -> None:
    async with running() as rig:
        gate = asyncio.Event()

        async def durable(_: int) -> None:
            await gate.wait()

        rig.spool.durable = durable  # type: ignore[method-assign,assignment]
        asked = asyncio.create_task(rig.get())
        await asyncio.sleep(0.1)
        assert len(rig.spool.lines) == 1
        assert not asked.done()
        gate.set()
        assert (await asked).status == 200


async def test_change_is_in_force_for_the_next_request_on_an_open_connection() -> None:
    async with running() as rig:
        reader, writer = await rig.open()
        writer.write(_REQUEST)
        assert b"200 OK" in await reader.readuntil(b"hello")
        rig.apply(build_snapshot(upstream_url=rig.upstream.url, credential={"active": False}))
        writer.write(_REQUEST)
        assert b"401 Unauthorized" in await reader.readuntil(b"\r\n\r\n")
