"""The usage door over a real engine: groups, money, evidence, proofs, and planted duplicates."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from gateway.contracts.access_log import Charge, Kind
from metering.clickhouse import ClickHouse
from metering.errors import MeteringUnavailableError, QueryInvalidError
from metering.proofs import read_prefixes, record_proven
from metering.queries import Dimension, ExpectedBoot, UsageFilter, UsageReader, connect
from tests.clickhouse import Embedded
from tests.factories.access_log import START, StreamWriter

END = START + timedelta(days=1)
MINE = UsageFilter(start=START, end=END, organization_id="o1")


@pytest.fixture
def client(clickhouse: Embedded) -> Iterator[ClickHouse]:
    client = ClickHouse(clickhouse.url_writer)
    for table in ("access_log", "dead_letter", "proven_seal"):
        client.command(f"TRUNCATE TABLE {table}")
    yield client
    client.close()


@pytest.fixture
def reader(clickhouse: Embedded) -> UsageReader:
    return connect(clickhouse.url_readonly)


def store(client: ClickHouse, stream: StreamWriter, *, token: str = "") -> None:
    client.insert_lines("access_log", stream.payload(), token=token or stream.stream)


def plant(client: ClickHouse, name: str = "planted") -> StreamWriter:
    """Store a small day: 3 billed, 1 counted, 1 free, a stream end, a business event, noise."""
    stream = StreamWriter()
    stream.event(latency_us=100)
    stream.event(route="later", latency_us=300, quantities={"requests": Decimal(2)})
    stream.step(3600)
    stream.event(credential_id="k2", quantities={"requests": Decimal(1), "gb": Decimal("0.5")})
    stream.event(status=404, charge=Charge.COUNTED, charge_reason="4xx")
    stream.event(status=503, charge=Charge.FREE, quantities={})
    stream.event(kind=Kind.RESPONSE_END, quantities={"gb": Decimal("0.25")}, response_bytes=1000)
    stream.event(kind=Kind.BUSINESS, event_key="e1", quantities={"jobs": Decimal(7)})
    stream.event(kind=Kind.REFUSALS, charge=Charge.FREE, quantities={}, decision="",
                 refusals={"rate_limited": 120, "quota_exceeded": 30})  # fmt: skip
    stream.event(kind=Kind.THRESHOLD, charge=Charge.FREE, quantities={}, meter="requests",
                 window_start=START, window_end=END, percent=80)  # fmt: skip
    stream.event(environment="test", subscription_id="")
    stream.event(organization_id="o2", subscription_id="s2")
    stream.seal()
    store(client, stream, token=name)
    return stream


def test_usage_in_total(client: ClickHouse, reader: UsageReader) -> None:
    plant(client)
    total = reader.usage(MINE).total
    assert total.events == 5 + 150
    assert total.errors == 2 + 150
    assert total.quantities == {
        "requests": Decimal(5), "gb": Decimal("0.75"), "jobs": Decimal(7),
    }  # fmt: skip
    assert total.response_bytes == 1000


def test_usage_of_nothing_is_zero(client: ClickHouse, reader: UsageReader) -> None:
    report = reader.usage(MINE, by=(Dimension.DAY,))
    assert (report.rows, report.total.events, report.newest_event_at) == ((), 0, None)
    assert report.as_of.tzinfo is not None


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ((Dimension.DAY,), {("2026-03-01",): 155}),
        ((Dimension.HOUR,), {("2026-03-01T12:00:00Z",): 2, ("2026-03-01T13:00:00Z",): 153}),
        ((Dimension.ROUTE,), {("later",): 1, ("now",): 154}),
        ((Dimension.CREDENTIAL,), {("k1",): 154, ("k2",): 1}),
        ((Dimension.STATUS,), {("200",): 153, ("404",): 1, ("503",): 1}),
        ((Dimension.CHARGE,), {("billed",): 3, ("counted",): 1, ("free",): 151}),
        ((Dimension.DECISION,), {("allow",): 5, ("quota_exceeded",): 30,
                                 ("rate_limited",): 120}),
        ((Dimension.METER,), {("gb",): 1, ("jobs",): 0, ("requests",): 4}),
        ((Dimension.API, Dimension.STATUS), {("weather", "200"): 153, ("weather", "404"): 1,
                                             ("weather", "503"): 1}),
        ((Dimension.ORGANIZATION, Dimension.SUBSCRIPTION, Dimension.CONSUMER),
         {("o1", "s1", "c1"): 155}),
    ],
)  # fmt: skip
def test_usage_by(
    client: ClickHouse,
    reader: UsageReader,
    by: tuple[Dimension, ...],
    expected: dict[tuple[str, ...], int],
) -> None:
    plant(client)
    rows = reader.usage(MINE, by=by).rows
    found = {tuple(row.group[d.value] for d in by): row.events for row in rows}
    assert found == expected


def test_meters_by_group_add_up(client: ClickHouse, reader: UsageReader) -> None:
    plant(client)
    rows = reader.usage(MINE, by=(Dimension.METER,)).rows
    assert {row.group["meter"]: dict(row.quantities) for row in rows} == {
        "gb": {"gb": Decimal("0.75")}, "jobs": {"jobs": Decimal(7)},
        "requests": {"requests": Decimal(5)},
    }  # fmt: skip


def test_filters_narrow_and_bind(client: ClickHouse, reader: UsageReader) -> None:
    plant(client)

    def count(**changes: Any) -> int:
        values = {"start": START, "end": END, "organization_id": "o1", **changes}
        return reader.usage(UsageFilter(**values)).total.events

    assert count(route="later") == 1
    assert count(status=404) == 1
    assert count(charges=(Charge.BILLED, Charge.COUNTED)) == 4
    assert count(credential_id="k2") == 1
    assert count(environment="test") == 1
    assert count(organization_id="", everyone=True) == 156
    assert count(organization_id="", subscription_id="s2") == 1
    assert count(organization_id="o1' OR 1 = 1 --") == 0
    assert count(end=START + timedelta(hours=1)) == 2, "end is exclusive"
    assert count(end=START) == 0


@pytest.mark.parametrize(
    ("case", "changes"),
    [
        ("reversed", {"end": START - timedelta(seconds=1)}),
        ("naive", {"start": datetime(2026, 3, 1)}),  # noqa: DTZ001
        ("no owner", {"organization_id": ""}),
    ],
)
def test_a_wrong_filter_is_refused(
    case: str, changes: dict[str, Any], reader: UsageReader
) -> None:
    values: dict[str, Any] = {"start": START, "end": END, "organization_id": "o1", **changes}
    with pytest.raises(QueryInvalidError):
        reader.usage(UsageFilter(**values))


def money(reader: UsageReader) -> dict[str, tuple[Decimal, Decimal, int, str]]:
    rows = reader.meter_usage(subscription_id="s1", environment="live", start=START, end=END)
    return {row.meter: (row.billed, row.counted, row.events, row.id_hash) for row in rows}


def test_money_counts_what_bills_and_proves_it(client: ClickHouse, reader: UsageReader) -> None:
    stream = plant(client)
    ids = "".join(f"{stream.stream}:{seq}\n" for seq in (1, 2, 3))
    usage = money(reader)
    assert usage["requests"] == (
        Decimal(4), Decimal(1), 3, hashlib.sha256(ids.encode()).hexdigest(),
    )  # fmt: skip
    assert usage["gb"][:3] == (Decimal("0.75"), Decimal(0), 2)
    assert usage["jobs"][:3] == (Decimal(7), Decimal(0), 1)
    assert reader.event_values(subscription_id="s1", meter="gb", start=START, end=END) == (
        Decimal("0.5"), Decimal("0.25"),
    )  # fmt: skip


def test_duplicates_change_no_answer(client: ClickHouse, reader: UsageReader) -> None:
    plant(client)
    before, usage = money(reader), reader.usage(MINE).total
    values = reader.event_values(subscription_id="s1", meter="requests", start=START, end=END)
    plant(client, name="again")
    plant(client, name="and again")
    assert client.rows("SELECT count() > uniqExact(stream, seq) FROM access_log")[0][0] == 1
    assert money(reader) == before
    assert reader.usage(MINE).total == usage
    assert values == reader.event_values(
        subscription_id="s1", meter="requests", start=START, end=END
    )
    assert len(reader.requests(MINE)) == 5
    assert reader.proofs()[0].duplicates == 24
    assert reader.proofs()[0].missing == 0


def test_a_duplicate_in_another_partition_counts_once(
    client: ClickHouse, reader: UsageReader
) -> None:
    stream = StreamWriter(at=datetime(2026, 2, 28, 23, 59, 59, tzinfo=UTC))
    stream.event()
    store(client, stream, token="february")
    twin = StreamWriter(at=datetime(2026, 3, 1, tzinfo=UTC))
    twin.event()
    store(client, twin, token="march")
    partitions = client.rows(
        "SELECT uniqExact(toYYYYMM(admitted_at)), count() FROM access_log FINAL"
    )
    assert tuple(partitions[0]) == (2, 2), "the engine keeps both"
    start, end = datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)
    [usage] = reader.meter_usage(subscription_id="s1", environment="live", start=start, end=end)
    assert (usage.billed, usage.events) == (Decimal(1), 1)
    where = UsageFilter(start=start, end=end, organization_id="o1")
    assert reader.usage(where).total.events == 1
    assert reader.proofs()[0].duplicates == 1


def test_the_id_hash_depends_on_ids_alone(client: ClickHouse, reader: UsageReader) -> None:
    streams = [StreamWriter(stream=f"n.b.{i}") for i in range(3)]
    for stream in streams:
        for _ in range(12):
            stream.event()
    for stream in reversed(streams):
        store(client, stream)
    ids = sorted((stream.stream, seq) for stream in streams for seq in range(1, 13))
    text = "".join(f"{name}:{seq}\n" for name, seq in ids)
    assert money(reader)["requests"][3] == hashlib.sha256(text.encode()).hexdigest()


def test_the_request_log(client: ClickHouse, reader: UsageReader) -> None:
    stream = plant(client)
    rows = reader.requests(MINE, limit=2)
    assert [row.status for row in rows] == [503, 404]
    older = reader.requests(MINE, before=rows[0].admitted_at)
    assert [row.seq for row in older] == [2, 1]
    one = reader.request(organization_id="o1", request_id=f"{stream.stream}-3")
    assert one is not None
    assert (one.quantities["gb"], one.charge, one.admitted_at.tzinfo) == (
        Decimal("0.5"), "billed", UTC,
    )  # fmt: skip
    assert reader.request(organization_id="o2", request_id=f"{stream.stream}-3") is None


def test_thresholds_and_last_use(client: ClickHouse, reader: UsageReader) -> None:
    plant(client)
    [crossed] = reader.thresholds(since=START)
    assert (crossed.meter, crossed.percent, crossed.window_end) == ("requests", 80, END)
    assert reader.thresholds(since=END) == ()
    later = START + timedelta(hours=1)
    assert reader.last_used(credential_ids=["k1", "k2", "k3"]) == {"k1": later, "k2": later}


def test_proofs_and_watermark(client: ClickHouse, reader: UsageReader) -> None:
    boot = ExpectedBoot(node="node-1", boot="boot-1", worker=0, opened_at=START)
    now = END
    assert reader.watermark(expected=[boot], now=now).at == START
    stream = StreamWriter()
    stream.event()
    stream.step(60)
    stream.seal()
    sealed_at = stream.at
    stream.step(60)
    stream.event()
    stream.event()
    stream.seal(final=True)
    client.insert_lines("access_log", b"".join([*stream.lines[:3], stream.lines[4]]), token="1")
    [proof] = reader.proofs()
    assert (proof.proven_through, proof.missing, proof.ended) == (2, 1, False)
    assert read_prefixes(client, [stream.stream]) == {stream.stream: 3}
    assert reader.watermark(expected=[boot], now=now).at == sealed_at
    assert record_proven(client) == 1
    client.insert_lines("access_log", stream.lines[3], token="2")
    [proof] = reader.proofs()
    assert (proof.proven_through, proof.missing, proof.ended) == (5, 0, True)
    assert reader.watermark(expected=[boot], now=now).at == now


def test_retention_may_remove_what_is_proven(client: ClickHouse, reader: UsageReader) -> None:
    stream = plant(client)
    assert record_proven(client) == 1
    assert record_proven(client) == 0
    client.command("TRUNCATE TABLE access_log")
    [proof] = reader.proofs()
    assert (proof.proven_through, proof.missing) == (len(stream.lines), 0)
    assert read_prefixes(client, [stream.stream, "new.b.0"]) == {
        stream.stream: len(stream.lines), "new.b.0": 0,
    }  # fmt: skip


def test_a_dead_letter_fills_the_gap_and_blocks_the_close(
    client: ClickHouse, reader: UsageReader
) -> None:
    stream = StreamWriter()
    for _ in range(3):
        stream.event()
    stream.seal()
    client.insert_lines("access_log", b"".join([stream.lines[0], *stream.lines[2:]]), token="1")
    client.insert_lines(
        "dead_letter", f'{{"stream":"{stream.stream}","seq":2,"reason":"x","raw":"y"}}\n'.encode(),
        token="2",
    )  # fmt: skip
    [proof] = reader.proofs()
    assert (proof.proven_through, proof.missing, proof.dead_letters) == (4, 0, 1)
    assert reader.dead_letters(start=START, end=END) == 1


def test_streams_that_seals_name_are_waited_for(client: ClickHouse, reader: UsageReader) -> None:
    stream = StreamWriter()
    stream.seal(open_streams=(stream.stream, "node-1.boot-2.1"))
    store(client, stream)
    assert {proof.stream for proof in reader.proofs()} == {stream.stream, "node-1.boot-2.1"}


def test_no_clickhouse_is_one_error() -> None:
    reader = connect("http://u:p@127.0.0.1:1/tollway")
    with pytest.raises(MeteringUnavailableError):
        reader.proofs()
