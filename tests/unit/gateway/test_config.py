"""Settings: each problem is a sentence that says what to set."""

from pathlib import Path

import pytest

from gateway.config import load
from gateway.contracts.environment import Durability, SettingsError
from gateway.identity import claim_boot_id, node_id

_BASE = {"TOLLWAY_GATEWAY_TOKEN": "t"}


def test_defaults_are_embedded_with_one_worker() -> None:
    settings = load(_BASE)
    assert (settings.workers, settings.port, settings.private_port) == (1, 8080, 8081)
    assert settings.spool_durability is Durability.PROCESS
    assert settings.errors_url == "http://127.0.0.1:8000/docs/errors"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"TOLLWAY_GATEWAY_TOKEN": ""}, "Set TOLLWAY_GATEWAY_TOKEN"),
        ({"TOLLWAY_GATEWAY_WORKERS": "2"}, "needs REDIS_URL"),
        ({"KAFKA_BOOTSTRAP_SERVERS": "k:9092"}, "KAFKA_BOOTSTRAP_SERVERS needs REDIS_URL"),
        ({"TOLLWAY_MODE": "production"}, "production needs REDIS_URL"),
        ({"TOLLWAY_TRUSTED_PROXIES": "10.0.0.0/8,nonsense"}, "not 'nonsense'"),
        ({"TOLLWAY_GATEWAY_PORT": "99999"}, "TOLLWAY_GATEWAY_PORT"),
        ({"TOLLWAY_USAGE_PATH": "me"}, "TOLLWAY_USAGE_PATH"),
        ({"TOLLWAY_NODE_ID": "a.b"}, "TOLLWAY_NODE_ID"),
    ],
)
def test_problem_is_said(changes: dict[str, str], sentence: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load({**_BASE, **changes})
    assert sentence in str(caught.value)


def test_secret_can_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-file\n")
    settings = load({"TOLLWAY_GATEWAY_TOKEN_FILE": str(tmp_path / "token")})
    assert settings.gateway_token == "from-file"


def test_node_id_is_made_once(tmp_path: Path) -> None:
    first = node_id(tmp_path, setting="")
    assert node_id(tmp_path, setting="") == first
    assert "." not in first
    assert node_id(tmp_path, setting="named") == "named"


def test_boot_ids_never_repeat_and_ascend(tmp_path: Path) -> None:
    boots = [claim_boot_id(tmp_path, wall_us=wall_us) for wall_us in (5, 5, 5, 9)]
    assert boots == sorted(set(boots))
