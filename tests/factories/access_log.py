"""Streams of access-log events as a gateway would write them: gapless seqs, seals with hashes."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from gateway.contracts.access_log import AccessLogEvent, Charge, Kind, encode
from gateway.contracts.spool import ZERO_HASH, line_hash

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass
class StreamWriter:
    """Writes the events of one stream; `lines[n]` is seq n + 1."""

    stream: str = "node-1.boot-1.0"
    at: datetime = START
    lines: list[bytes] = field(default_factory=list)
    running_hash: bytes = ZERO_HASH

    @property
    def node(self) -> str:
        return self.stream.rsplit(".", 2)[0]

    @property
    def next_seq(self) -> int:
        return len(self.lines) + 1

    def event(self, **changes: Any) -> AccessLogEvent:
        """Append one event: a billed live request of organization `o1`, unless told otherwise."""
        values: dict[str, Any] = {
            "stream": self.stream, "seq": self.next_seq, "kind": Kind.REQUEST,
            "admitted_at": self.at, "finished_at": self.at, "node": self.node,
            "request_id": f"{self.stream}-{self.next_seq}", "environment": "live",
            "organization_id": "o1", "consumer_id": "c1", "credential_id": "k1",
            "subscription_id": "s1", "api": "weather", "route": "now", "method": "GET",
            "path_template": "/now", "status": 200, "upstream_status": 200, "decision": "allow",
            "charge": Charge.BILLED, "charge_reason": "2xx",
            "quantities": {"requests": Decimal(1)}, "latency_us": 1000,
        }  # fmt: skip
        event = AccessLogEvent(**{**values, **changes})
        self.append(encode(event))
        return event

    def seal(self, *, final: bool = False, open_streams: tuple[str, ...] | None = None) -> None:
        """Append a seal that is complete through now."""
        seq = self.next_seq
        event = AccessLogEvent(
            stream=self.stream, seq=seq, kind=Kind.SEAL, admitted_at=self.at, finished_at=self.at,
            node=self.node, last_seq=seq, line_hash=self.running_hash.hex(),
            complete_through=self.at, final=final,
            open_streams=(self.stream,) if open_streams is None else open_streams,
        )  # fmt: skip
        self.append(encode(event))

    def append(self, line: bytes) -> None:
        self.lines.append(line)
        self.running_hash = line_hash(self.running_hash, line)

    def step(self, seconds: float = 1) -> None:
        self.at += timedelta(seconds=seconds)

    def payload(self) -> bytes:
        return b"".join(self.lines)
