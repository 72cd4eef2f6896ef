"""A stream's spool folder as a gateway would write it, with the contract's own functions."""

import os
from collections.abc import Sequence
from pathlib import Path

import crc32c

from gateway.contracts.spool import (
    SYNCED_NAME,
    Position,
    encode_block,
    encode_position,
    encode_segment_header,
    line_hash,
    segment_name,
)
from tests.factories.access_log import StreamWriter


class SpoolWriter:
    """Appends blocks of a `StreamWriter`'s lines to segment files and moves the `synced` mark."""

    def __init__(self, spool_dir: Path, events: StreamWriter) -> None:
        self.folder = spool_dir / events.stream
        self.folder.mkdir(parents=True)
        self.events = events
        self.written = 0
        self.segment = 0
        self._hash = bytes(32)

    @property
    def path(self) -> Path:
        return self.folder / segment_name(self.segment)

    def new_segment(self) -> None:
        self.segment = self.written + 1
        self.path.write_bytes(
            encode_segment_header(
                stream=self.events.stream, first_seq=self.segment, hash_before=self._hash,
                crc=crc32c.crc32c,
            )
        )  # fmt: skip

    def block(self, lines: Sequence[bytes] | None = None, *, count: int | None = None) -> int:
        """Append a block of lines and return the offset behind it; by default all that is new."""
        if not self.segment:
            self.new_segment()
        fresh = self.events.lines[self.written :] if lines is None else lines
        payload = b"".join(fresh)
        with self.path.open("ab") as file:
            file.write(
                encode_block(
                    first_seq=self.written + 1, count=count or len(fresh), payload=payload,
                    crc=crc32c.crc32c,
                )
            )  # fmt: skip
            end = file.tell()
        for line in fresh:
            self._hash = line_hash(self._hash, line)
        self.written += len(fresh)
        return end

    def sync(self) -> None:
        """Move the mark behind everything written."""
        position = Position(self.segment, self.path.stat().st_size, self.written)
        self.mark(position)

    def mark(self, position: Position) -> None:
        fd = os.open(self.folder / SYNCED_NAME, os.O_CREAT | os.O_WRONLY, 0o640)
        os.pwrite(fd, encode_position(position, crc=crc32c.crc32c), 0)
        os.close(fd)

    def damage(self, offset: int, *, size: int = 1) -> None:
        """Flip bytes of the current segment."""
        with self.path.open("r+b") as file:
            file.seek(offset)
            old = file.read(size)
            file.seek(offset)
            file.write(bytes(byte ^ 0xFF for byte in old))
