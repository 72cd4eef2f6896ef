"""What a seal says, as a line; shared by the live stream and by the recovery of a dead one."""

from datetime import UTC, datetime, timedelta
from typing import Final

from gateway.contracts.access_log import AccessLogEvent, Kind, encode

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def instant(us: int) -> datetime:
    """Turn microseconds since the epoch into an aware UTC instant, exactly.

    >>> instant(1_500_000)
    datetime.datetime(1970, 1, 1, 0, 0, 1, 500000, tzinfo=datetime.timezone.utc)
    """
    return _EPOCH + timedelta(microseconds=us)


def seal_line(
    *,
    stream: str,
    node: str,
    seq: int,
    now_us: int,
    complete_us: int,
    hash_before: bytes,
    streams: tuple[str, ...],
    final: bool,
    reason: str,
) -> bytes:
    """Write a seal. It counts itself (`last_seq` = its own seq); the hash ends before its line."""
    return encode(
        AccessLogEvent(
            stream=stream,
            seq=seq,
            kind=Kind.SEAL,
            admitted_at=instant(now_us),
            finished_at=instant(now_us),
            node=node,
            last_seq=seq,
            line_hash=hash_before.hex(),
            complete_through=instant(complete_us),
            open_streams=streams,
            final=final,
            final_reason=reason,
        )
    )
