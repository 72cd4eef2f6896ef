"""nginx twice: the upstream that both sides call, and the gateway that ours is held against."""

from collections.abc import Sequence
from pathlib import Path

from deploy.servers import ServerProcess, free_port
from tests.bench.machine import tool
from tests.bench.probe import check_answers
from tests.bench.wrk import CONNECTIONS

BODY = ('{"code":"DE","text":"' + "x" * 1001 + '"}').encode()
"""1 KiB."""

_FRAME = """
daemon off;
pid %(folder)s/nginx.pid;
error_log %(folder)s/error.log warn;
worker_processes 1;
events { worker_connections 1024; }
http {
  client_body_temp_path %(folder)s/body;
  proxy_temp_path %(folder)s/proxy;
  fastcgi_temp_path %(folder)s/fastcgi;
  uwsgi_temp_path %(folder)s/uwsgi;
  scgi_temp_path %(folder)s/scgi;
  keepalive_requests 1000000000;
  keepalive_timeout 75s;
  tcp_nodelay on;
  default_type application/json;
  %(http)s
}
"""
_UPSTREAM = """
  access_log off;
  server {
    listen 127.0.0.1:%(port)d;
    location / { return 200 '%(body)s'; }
  }
"""
# The same steps as ours: key to consumer, rate limit, forwarding headers, one line of JSON. The
# log is written in blocks of 32 KiB or ten times a second, without a sync: less than ours does.
_GATEWAY = """
  map_hash_max_size 65536;
  map_hash_bucket_size 256;
  map $http_x_api_key $consumer {
    default "";
    include %(folder)s/keys.map;
  }
  limit_req_zone $consumer zone=consumers:32m rate=1000000r/s;
  log_format event escape=json '{"at":"$time_iso8601","id":"$request_id","consumer":"$consumer",'
    '"method":"$request_method","path":"$uri","status":$status,'
    '"upstream_status":"$upstream_status","request_bytes":$request_length,'
    '"response_bytes":$body_bytes_sent,"latency_s":$request_time,'
    '"upstream_latency_s":"$upstream_response_time","client_ip":"$remote_addr",'
    '"user_agent":"$http_user_agent"}';
  access_log %(folder)s/access.json event buffer=32k flush=100ms;
  upstream world {
    server 127.0.0.1:%(upstream)d;
    keepalive %(connections)d;
    keepalive_requests 1000000000;
  }
  server {
    listen 127.0.0.1:%(port)d backlog=1024;
    location /v1/countries/ {
      if ($consumer = "") { return 401; }
      limit_req zone=consumers burst=1000000 nodelay;
      proxy_pass http://world;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header X-API-Key "";
      proxy_set_header X-Consumer-Username $consumer;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Request-Id $request_id;
      add_header X-Request-Id $request_id;
      add_header Via "1.1 nginx";
    }
  }
"""


def _start(folder: Path, port: int, http: str) -> ServerProcess:
    config = folder / "nginx.conf"
    config.write_text(_FRAME % {"folder": folder, "http": http})
    log = folder / "error.log"
    process = ServerProcess(
        url=f"http://127.0.0.1:{port}",
        command=[tool("nginx"), "-c", str(config), "-e", str(log), "-p", str(folder)],
        log=folder / "nginx.log",
        ready=lambda: check_answers(port),
    )
    process.start()
    return process


def start_upstream(folder: Path) -> tuple[ServerProcess, int]:
    """Start the upstream: 1 KiB from memory, one worker. Return it and its port."""
    port = free_port()
    folder.mkdir()
    return _start(folder, port, _UPSTREAM % {"port": port, "body": BODY.decode()}), port


class NginxGateway:
    """nginx with a key map, `limit_req`, a JSON access log and pooled upstream connections."""

    name = "nginx"

    def __init__(self, folder: Path, *, upstream_port: int, keys: Sequence[str]) -> None:
        self._folder = folder
        self._upstream = upstream_port
        self._keys = keys
        self.port = free_port()

    def start(self) -> None:
        self._folder.mkdir()
        entries = [f'"{key}" "con_{number}";\n' for number, key in enumerate(self._keys)]
        (self._folder / "keys.map").write_text("".join(entries))
        values = {"folder": self._folder, "port": self.port, "upstream": self._upstream}
        http = _GATEWAY % {**values, "connections": 2 * CONNECTIONS}
        self._process = _start(self._folder, self.port, http)

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self) -> None:
        self._process.stop()

    def recorded(self) -> int:
        """Count the answers with 200 in its log, once it is stopped."""
        with (self._folder / "access.json").open() as log:
            return sum('"status":200,' in line for line in log)
