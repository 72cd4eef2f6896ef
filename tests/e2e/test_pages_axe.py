"""Accessibility of every page: WCAG 2.2 AA, both themes, phone and desktop.

Each page is also checked for its policy, for requests that leave the machine (the `visitor`) and
for sideways scrolling.
"""

from collections.abc import Callable, Iterator
from typing import Final

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from portal.usage import override
from tests.e2e.conftest import Visitor
from tests.e2e.scene import Scene, build_scene

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]
TAGS: Final = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
LOOKS: Final = [(theme, width) for theme in ("light", "dark") for width in (360, 1280)]
PUBLIC: Final = (
    "/",
    "/styleguide",
    "/docs/errors",
    "/accounts/login/",
    "/accounts/signup/",
    "/accounts/password/reset/",
)
MEMBER: Final = (
    "/start",
    "/app/northwind/keys",
    "/app/northwind/keys/new",
    "/app/northwind/keys/{scene.live_key}",
    "/app/northwind/keys/{scene.old_key}",
    "/app/northwind/keys/{scene.live_key}/rotate",
    "/app/northwind/keys/{scene.live_key}/revoke",
    "/app/northwind/usage",
    "/app/northwind/usage?by=key&range=30d",
    "/app/northwind/usage?by=route&range=24h",
    "/app/northwind/requests",
    "/app/northwind/requests?status=418",
    "/app/northwind/requests/{scene.request_id}",
    "/app/northwind/team",
    "/app/northwind/settings",
    "/accounts/email/",
    "/accounts/password/change/",
    "/accounts/2fa/",
)


@pytest.fixture
def scene(db: None) -> Iterator[Scene]:
    built = build_scene()
    with override(built.log):
        yield built


def violations(page: Page) -> list[str]:
    """Return each violated rule with the elements that violate it."""
    result = Axe().run(page, options={"runOnly": {"type": "tag", "values": TAGS}})
    return [
        f"{page.url} {found['id']}: {[node['target'] for node in found['nodes']]}"
        for found in result.response["violations"]
    ]


@pytest.mark.parametrize(("theme", "width"), LOOKS)
def test_pages(
    visitor: Visitor, fits: Callable[[Page], None], scene: Scene, theme: str, width: int
) -> None:
    found: list[str] = []
    for path in PUBLIC:
        page = visitor.open(path, theme=theme, width=width)
        found += violations(page)
        fits(page)
    for path in MEMBER:
        page = visitor.open(path.format(scene=scene), user=scene.owner, theme=theme, width=width)
        found += violations(page)
        fits(page)
    assert found == []


@pytest.mark.parametrize("width", [360, 1280])
def test_error_pages(visitor: Visitor, fits: Callable[[Page], None], width: int) -> None:
    visitor.expected = ("404 (Not Found)",)
    page = visitor.open("/nowhere", width=width)
    assert violations(page) == []
    fits(page)
