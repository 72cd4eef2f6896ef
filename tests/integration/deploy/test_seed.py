"""The demo is seeded whole or not at all, so that an interrupted first start can be repeated."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from deploy.demo import seed
from portal import clock
from portal.models import Organization, ProductClock

pytestmark = pytest.mark.django_db


def start(secrets: Path) -> None:
    seed.start(
        secrets,
        password="demo-of-a-test",
        upstream_url="http://127.0.0.1:9",
        days=30,
        wall=clock.wall_now(),
    )


def test_a_first_start_that_was_interrupted_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_args: object, **_named: object) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(seed, "secret_write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            start(tmp_path)
    assert not ProductClock.objects.exists()
    assert not Organization.objects.exists()
    start(tmp_path)
    keys = tmp_path / seed.KEYS_FILE
    assert set(json.loads(keys.read_text())) == {c.email for c in seed.CUSTOMERS}
    assert keys.stat().st_mode & 0o077 == 0
    assert clock.offset() <= -timedelta(days=29)


def test_a_second_start_changes_nothing(tmp_path: Path) -> None:
    start(tmp_path)
    before = (tmp_path / seed.KEYS_FILE).read_bytes(), Organization.objects.count()
    start(tmp_path)
    assert before == ((tmp_path / seed.KEYS_FILE).read_bytes(), Organization.objects.count())
