"""Who this gateway is: the node's id, kept in the data directory, and one id per start.

A stream is named `<node>.<boot>.<worker>`, and a stream's name must never come twice: so a boot
id holds the time of the start, and is claimed by creating a file exclusively.
"""

import os
import uuid
from pathlib import Path


def node_id(data_dir: Path, *, setting: str) -> str:
    """Return the setting, or the id stored in the data directory (made at the first start)."""
    if setting:
        return setting
    path = data_dir / "gateway" / "node_id"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return path.read_text().strip()
    with os.fdopen(descriptor, "w") as file:
        fresh = str(uuid.uuid4())
        file.write(fresh)
        file.flush()
        os.fsync(file.fileno())
    return fresh


def claim_boot_id(data_dir: Path, *, wall_us: int) -> str:
    """Return a boot id that no other start has; later starts sort behind."""
    folder = data_dir / "gateway" / "boots"
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        boot = f"{wall_us:014x}"
        try:
            os.close(os.open(folder / boot, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
        except FileExistsError:
            wall_us += 1
            continue
        return boot
