"""The example in the configuration guide is a file that can be applied."""

import re
from pathlib import Path

import pytest

from portal.models import Subscription
from portal.services.config_file import config_apply
from tests.factories.provider import NOW

GUIDE = Path(__file__).parents[3] / "docs" / "configuration.md"


@pytest.mark.django_db
def test_the_guides_example_applies() -> None:
    block = re.search(r"```yaml\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    text = block[1].replace("64 hexadecimal digits", "ab" * 32)
    assert config_apply(text=text, actor=None, now=NOW)
    assert Subscription.objects.get().plan.slug == "team"
    assert config_apply(text=text, actor=None, now=NOW) == ()
