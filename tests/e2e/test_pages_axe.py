"""Accessibility of every page: WCAG 2.2 AA, both themes, phone and desktop."""

from collections.abc import Callable
from typing import Final

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from tests.e2e.conftest import Visitor

pytestmark = pytest.mark.django_db(transaction=True)
TAGS: Final = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
LOOKS: Final = [(theme, width) for theme in ("light", "dark") for width in (360, 1280)]


def violations(page: Page) -> list[str]:
    """Return each violated rule with the elements that violate it."""
    result = Axe().run(page, options={"runOnly": {"type": "tag", "values": TAGS}})
    return [
        f"{found['id']}: {[node['target'] for node in found['nodes']]}"
        for found in result.response["violations"]
    ]


@pytest.mark.parametrize(("theme", "width"), LOOKS)
def test_styleguide(
    visitor: Visitor, fits: Callable[[Page], None], theme: str, width: int
) -> None:
    page = visitor.open("/styleguide", theme=theme, width=width)
    assert violations(page) == []
    fits(page)
