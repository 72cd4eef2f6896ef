"""Load by wrk: keep-alive connections, keys in turn, five request headers."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.machine import tool
from tests.bench.report import InvalidRunError

CONNECTIONS = 48
PATH = "/v1/countries/de"
HEADERS = {
    "User-Agent": "bench/1.0",
    "Accept": "application/json",
    "Accept-Encoding": "identity",
}
"""With Host and X-API-Key: five."""

# Requests are formatted before the clock starts; in a run a key costs one table look-up.
_SCRIPT = """
local requests, count, turn, pause_ms = {}, 0, 0, tonumber("%(pause_ms)d")
function init(args)
  math.randomseed(7)
  for key in io.lines("%(keys)s") do
    count = count + 1
    wrk.headers["X-API-Key"] = key
    requests[count] = wrk.format("GET", "%(path)s")
  end
end
function request()
  turn = turn %% count + 1
  return requests[turn]
end
%(delay)s
function done(summary, latency, _)
  local e = summary.errors
  io.write(string.format(
    '\\nJSON{"requests":%%d,"duration_us":%%d,"failed":%%d,"p50_us":%%d,"p99_us":%%d}\\n',
    summary.requests, summary.duration, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""
_DELAY = "function delay() return math.random(0, 2 * pause_ms) end"


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of wrk saw; every request was answered, with a status below 400."""

    requests: int
    duration_us: int
    p50_us: int
    p99_us: int

    @property
    def per_s(self) -> float:
        return self.requests * 1e6 / self.duration_us


def parse_output(text: str) -> Load:
    """Read what the script wrote.

    :raises InvalidRunError: when a request failed, or none was answered.
    """
    lines = [line for line in text.splitlines() if line.startswith("JSON")]
    if not lines:
        msg = f"wrk told nothing: {text[-500:]}"
        raise InvalidRunError(msg)
    found = json.loads(lines[0].removeprefix("JSON"))
    if found.pop("failed") or not found["requests"]:
        msg = f"wrk saw failures: {text[-500:]}"
        raise InvalidRunError(msg)
    return Load(**found)


class Wrk:
    """Runs wrk with keys of a file; one thread, so that one core feeds one core."""

    def __init__(self, folder: Path, keys: Sequence[str]) -> None:
        self._binary = tool("wrk")
        self._folder = folder
        self._keys = folder / "keys.txt"
        self._keys.write_text("".join(f"{key}\n" for key in keys))

    def run(self, port: int, *, seconds: int, pause_ms: int = 0) -> Load:
        """Load a gateway on loopback; every connection pauses `pause_ms` on average.

        :raises InvalidRunError: when a request failed.
        """
        script = self._folder / "load.lua"
        values = {"keys": self._keys, "path": PATH, "pause_ms": pause_ms}
        script.write_text(_SCRIPT % {**values, "delay": _DELAY if pause_ms else ""})
        headers = [part for name, value in HEADERS.items() for part in ("-H", f"{name}: {value}")]
        command = [
            self._binary, "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", *headers,
            "-s", str(script), f"http://127.0.0.1:{port}",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        return parse_output(done.stdout + done.stderr)
