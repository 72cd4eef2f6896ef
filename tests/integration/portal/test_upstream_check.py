"""The check button of an upstream: a real listener answers, a closed port says why not."""

import socket

import pytest

from portal.models import Upstream
from portal.services.upstream_check import upstream_check
from tests.factories.provider import NOW


@pytest.mark.django_db
def test_each_target_is_tried() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        alive = f"http://127.0.0.1:{listener.getsockname()[1]}"
        dead = f"http://127.0.0.1:{closed.getsockname()[1]}"
        upstream = Upstream(name="a", targets={alive: 1, dead: 1}, created_at=NOW)
        found = upstream_check(upstream)
    assert found[alive] == ""
    assert "refused" in found[dead]
