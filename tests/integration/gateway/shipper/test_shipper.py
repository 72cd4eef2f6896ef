"""The shipper on a real Kafka: at least once, in order, through kills and restarts."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer

from deploy.servers import start_kafka
from gateway.adapters.quota_checkpoint import SpoolKeeper
from gateway.adapters.shipper import ShipperRunningError, ShipperSettings, run_shipper
from gateway.adapters.spool import FileSpool
from gateway.adapters.spool_commit import SpoolSettings
from gateway.adapters.spool_files import durable_through, segment_files
from tests.contract.quota_suite import START
from tests.factories.events import request_tail, seqs, synced_lines
from tests.fakes.gateway_ports import FakeClock
from tests.integration.gateway.shipper.topic import Topic
from tests.servers import start_or_skip
from tests.waiting import eventually_sync

pytestmark = pytest.mark.timeout(120)


async def write_stream(spool_dir: Path, stream: str, *, requests: int) -> None:
    """A whole stream, ended: `requests` events and the final seal."""
    spool = await FileSpool.open(
        spool_dir=spool_dir,
        stream=stream,
        node="n1",
        clock=FakeClock(1_800_000_000_000_000),
        settings=SpoolSettings(segment_bytes=64 * 1024, reserve_bytes=4096),
    )
    for n in range(requests):
        spool.append(request_tail())
        if n % 7 == 0:
            await spool.durable(n + 1)
    await spool.close()


@contextmanager
def shipping(settings: ShipperSettings, sweep: Callable[[], int] = lambda: 0) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(
        target=run_shipper, args=(settings,), kwargs={"sweep": sweep, "stop": stop}
    )
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(60)
        assert not thread.is_alive()


def settings_for(spool_dir: Path, servers: str, topic: str, **more: Any) -> ShipperSettings:
    return ShipperSettings(
        spool_dir=spool_dir,
        bootstrap_servers=servers,
        topic=topic,
        durable_topic=f"{topic}.durable",
        **more,
    )


def publish_durable(servers: str, topic: str, stream: str, value: bytes) -> None:
    """What the sink does."""
    producer = KafkaProducer(bootstrap_servers=servers)
    producer.send(f"{topic}.durable", key=stream.encode(), value=value).get(timeout=20)
    producer.close()


async def test_every_synced_line_arrives_once_and_in_order(kafka: str, tmp_path: Path) -> None:
    streams = ["n1.b1.0", "n1.b1.1", "n1.b1.2"]
    for stream in streams:
        await write_stream(tmp_path, stream, requests=500)
    topic = Topic(kafka, "once")
    with shipping(settings_for(tmp_path, kafka, "once")):
        topic.read_until(lambda: topic.has_all_of(tmp_path, *streams))
    for stream in streams:
        assert topic.lines[stream] == synced_lines(tmp_path / stream)
        assert len(topic.places[stream]) == 1  # one partition per stream keeps its order


async def test_a_new_shipper_goes_on_where_kafka_acknowledged(kafka: str, tmp_path: Path) -> None:
    await write_stream(tmp_path, "s1", requests=100)
    topic = Topic(kafka, "goes-on")
    with shipping(settings_for(tmp_path, kafka, "goes-on")):
        topic.read_until(lambda: topic.has_all_of(tmp_path, "s1"))
    await write_stream(tmp_path, "s2", requests=100)
    again = Topic(kafka, "goes-on")
    with shipping(settings_for(tmp_path, kafka, "goes-on")):
        again.read_until(lambda: again.has_all_of(tmp_path, "s1", "s2"))
    assert again.lines["s1"] == synced_lines(tmp_path / "s1")


async def test_what_is_durable_is_counted_and_deleted(kafka: str, tmp_path: Path) -> None:
    spool_dir = tmp_path / "spool"
    await write_stream(spool_dir, "s1", requests=500)
    first, second = segment_files(spool_dir / "s1")[:2]
    keeper = SpoolKeeper(spool_dir=spool_dir, counters=tmp_path / "quota", replay=lambda _: [])
    settings = settings_for(spool_dir, kafka, "deleted", sweep_s=0.1)
    topic = Topic(kafka, "deleted")
    with shipping(settings, lambda: keeper.sweep(now_us=START)):
        topic.read_until(lambda: topic.has_all_of(spool_dir, "s1"))
        publish_durable(kafka, "deleted", "s1", b"%d" % second[0])
        eventually_sync(lambda: not first[1].exists(), within_s=20)
        assert second[1].exists()
        assert durable_through(spool_dir / "s1") == second[0]
        publish_durable(kafka, "deleted", "s1", b"nonsense")
        publish_durable(kafka, "deleted", "another-nodes", b"9")
        publish_durable(kafka, "deleted", "s1", b"501")
        eventually_sync(lambda: not (spool_dir / "s1").exists(), within_s=20)


async def test_what_stands_still_is_sent_again(kafka: str, tmp_path: Path) -> None:
    await write_stream(tmp_path, "s1", requests=60)
    topic = Topic(kafka, "again")
    with shipping(settings_for(tmp_path, kafka, "again", patience_s=1.0)):
        topic.read_until(lambda: topic.has_all_of(tmp_path, "s1"))
        publish_durable(kafka, "again", "s1", b"20")
        repeated = Topic(kafka, "again")
        repeated.read_until(lambda: seqs(repeated.lines.get("s1", [])).count(40) >= 2)
    counts = seqs(repeated.lines["s1"])
    assert counts.count(61) == counts.count(40)  # from the first one not durable to the end


async def test_one_shipper_per_spool(kafka: str, tmp_path: Path) -> None:
    await write_stream(tmp_path, "s1", requests=1)
    settings = settings_for(tmp_path, kafka, "alone")
    topic = Topic(kafka, "alone")
    with shipping(settings):
        topic.read_until(lambda: topic.has_all_of(tmp_path, "s1"))
        with pytest.raises(ShipperRunningError):
            run_shipper(settings, sweep=lambda: 0, stop=threading.Event())


async def test_a_killed_shipper_loses_nothing(kafka: str, tmp_path: Path) -> None:
    streams = ["n1.b1.0", "n1.b1.1"]
    for stream in streams:
        await write_stream(tmp_path, stream, requests=4000)
    for _ in range(2):
        before = [shipped(tmp_path / name) for name in streams]
        with own_process(tmp_path, kafka, "killed"):
            eventually_sync(progress(tmp_path, streams, before), within_s=30)
    topic = Topic(kafka, "killed")
    with shipping(settings_for(tmp_path, kafka, "killed")):
        topic.read_until(lambda: topic.has_all_of(tmp_path, *streams))
    for stream in streams:
        assert first_comings(topic.lines[stream]) == synced_lines(tmp_path / stream)


@contextmanager
def own_process(spool_dir: Path, servers: str, topic: str) -> Iterator[None]:
    """Run a shipper in a process of its own and kill it at the end."""
    module = "tests.integration.gateway.shipper.shipper_process"
    command = [sys.executable, "-m", module, str(spool_dir), servers, topic]
    with subprocess.Popen(command) as shipper:  # noqa: S603 - our own
        try:
            yield
        finally:
            shipper.kill()


def progress(spool_dir: Path, streams: list[str], before: list[bytes]) -> Callable[[], bool]:
    return lambda: [shipped(spool_dir / name) for name in streams] != before


def shipped(stream_dir: Path) -> bytes:
    path = stream_dir / "shipped"
    return path.read_bytes() if path.exists() else b""


def first_comings(lines: list[bytes]) -> list[bytes]:
    """Drop what comes again: what the sink does with covered seqs."""
    return list(dict.fromkeys(lines))


async def test_a_restarted_broker_is_found_again(tmp_path: Path) -> None:
    server = start_or_skip("kafka", start_kafka, tmp_path / "kafka")
    spool_dir = tmp_path / "spool"
    try:
        await write_stream(spool_dir, "s1", requests=200)
        topic = Topic(server.url, "restarted")
        with own_process(spool_dir, server.url, "restarted"):
            topic.read_until(lambda: topic.has_all_of(spool_dir, "s1"))
            server.kill()
            await write_stream(spool_dir, "s2", requests=200)
            server.start()
            after = Topic(server.url, "restarted")
            after.read_until(lambda: after.has_all_of(spool_dir, "s1", "s2"), within_s=60)
        assert first_comings(after.lines["s2"]) == synced_lines(spool_dir / "s2")
    finally:
        server.stop()
