"""A request goes up and its answer comes down, with one event in the spool before it."""

from decimal import Decimal

from gateway.contracts.access_log import Charge, Kind
from tests.factories.snapshots import TEST_KEY
from tests.integration.gateway.rig import answering, running


async def test_first_call_is_answered_metered_and_logged() -> None:
    async with running() as rig:
        answer = await rig.get("/v1/cities?q=a%2Fb")
        assert (answer.status, answer.body) == (200, b"hello")
        assert answer.headers["x-ratelimit-limit"] == "50"
        assert answer.headers["x-ratelimit-remaining"] == "49"
        assert answer.headers["tollway-quota-state"] == "included"
        assert answer.headers["ratelimit"] == '"burst";r=49;t=1'
        assert answer.headers["ratelimit-policy"] == (
            '"burst";q=50;w=5,"requests";q=1000;w=2678400'
        )
        assert rig.upstream.heads[0].startswith(b"GET /v1/cities?q=a%2Fb HTTP/1.1\r\n")
        assert len(rig.spool.events) == 1
        event = rig.spool.events[0]
        assert event.kind is Kind.REQUEST
        assert (event.charge, event.charge_reason) == (Charge.BILLED, "2xx")
        assert event.quantities == {"requests": Decimal(1)}
        assert (event.status, event.upstream_status, event.response_bytes) == (200, 200, 5)
        assert (event.subscription_id, event.plan_version_id) == ("sub-1", "plan-1")
        assert (event.api, event.route, event.path_template) == ("weather", "everything", "/v1/*")
        assert event.request_id == answer.headers["x-request-id"]
        assert not rig.spool.open
        assert sum(rig.quota.used.values()) == 1


async def test_upstream_error_is_free_and_gives_its_unit_back() -> None:
    down = b"HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\nno"
    async with running(answering(down)) as rig:
        answer = await rig.get()
        assert (answer.status, answer.body) == (500, b"no")
        assert rig.spool.events[0].charge is Charge.FREE
        assert sum(rig.quota.used.values()) == 0
        usage = (await rig.get("/me/usage")).body
        assert b'"used":0' in usage


async def test_upstream_4xx_is_counted() -> None:
    missing = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    async with running(answering(missing)) as rig:
        assert (await rig.get()).status == 404
        assert rig.spool.events[0].charge is Charge.COUNTED
        assert sum(rig.quota.used.values()) == 1


async def test_test_call_is_free_with_counters_of_its_own() -> None:
    async with running() as rig:
        assert (await rig.get(key=TEST_KEY)).status == 200
        event = rig.spool.events[0]
        assert (event.environment, event.subscription_id) == ("test", "")
        assert (event.charge, event.charge_reason) == (Charge.FREE, "test:2xx")
        assert [key.split("|")[0] for key, used in rig.quota.used.items() if used] == [
            "test:org-1"
        ]
