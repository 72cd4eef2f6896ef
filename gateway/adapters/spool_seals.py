"""What a seal says, as a line; shared by the live stream and by the recovery of a dead one."""

from gateway.contracts.access_log import AccessLogEvent, Kind, encode
from gateway.core.instants import to_instant


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
            admitted_at=to_instant(now_us),
            finished_at=to_instant(now_us),
            node=node,
            last_seq=seq,
            line_hash=hash_before.hex(),
            complete_through=to_instant(complete_us),
            open_streams=streams,
            final=final,
            final_reason=reason,
        )
    )
