"""Single requests around the load: that a gateway serves, refuses, and answers what it should."""

import http.client
from collections.abc import Sequence

from tests.bench.report import InvalidRunError
from tests.bench.wrk import HEADERS, PATH


def check_answers(port: int) -> None:
    """Return when something answers HTTP on a port.

    :raises OSError: when nothing does.
    """
    _ask(http.client.HTTPConnection("127.0.0.1", port, timeout=5), key="")


def _ask(connection: http.client.HTTPConnection, *, key: str) -> tuple[int, bytes]:
    connection.request("GET", PATH, headers={**HEADERS, **({"X-API-Key": key} if key else {})})
    answer = connection.getresponse()
    return answer.status, answer.read()


def check_side(port: int, *, keys: Sequence[str], body: bytes) -> int:
    """Ask with each key, and with a wrong one; return how many requests were acknowledged.

    :raises InvalidRunError: unless each key gets 200 and the body, and a wrong one 401.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        for key in keys:
            answer = _ask(connection, key=key)
            if answer != (200, body):
                msg = f"port {port} answers {answer[0]} with {len(answer[1])} bytes"
                raise InvalidRunError(msg)
        status, _ = _ask(connection, key=keys[0][:-1] + ("A" if keys[0][-1] != "A" else "B"))
        if status != 401:
            msg = f"port {port} answers {status} to a wrong key"
            raise InvalidRunError(msg)
    finally:
        connection.close()
    return len(keys)
