"""Every page of the product in both themes, on phone and desktop, keeps what is promised.

WCAG 2.2 AA without violations, one `h1`, a title, no sideways scrolling, no policy violation, no
script error, no request beyond loopback, 15 requests and 60 KB of style and script at most, no
more than 12 queries (`ux.md` §6). With `TOLLWAY_SHOTS=FOLDER` each look is also kept as a picture.
"""

import gzip
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from playwright.sync_api import Page, Response

from metering.queries import Dimension, UsageFilter, UsageReport
from portal.usage import override
from tests.e2e.conftest import Visitor
from tests.e2e.installation import Outside
from tests.e2e.scene import Scene, build_scene
from tests.e2e.site_map import EXEMPT, PAGES, Known, Visit, known_urls
from tests.factories.portal import NOW
from tests.fakes.request_log import FakeRequestLog

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(600)]
TAGS: Final = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
LOOKS: Final = [(theme, width) for theme in ("light", "dark") for width in (1280, 360)]
MAX_REQUESTS: Final = 15
MAX_BYTES: Final = 60 * 1024
MAX_QUERIES: Final = 12
QUERIES_OF: Final = {"admin_config": 18}  # the whole configuration in one document
ERRORS: Final = (
    ("404", "/nowhere", ""),
    ("403", "/admin-console/apis", "finance"),
    ("400", "/app/northwind/usage?" + "a&" * 1001, "owner"),
)


@pytest.fixture
def scene(db: None, outside: Outside) -> Scene:
    return build_scene(outside)


def violations(page: Page) -> list[str]:
    """Return each violated rule with the elements that violate it."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    found: list[dict[str, Any]] = page.evaluate(
        "tags => axe.run({runOnly: {type: 'tag', values: tags}, resultTypes: ['violations']})"
        ".then(result => result.violations)",
        TAGS,
    )
    return [f"{rule['id']}: {[node['target'] for node in rule['nodes']][:5]}" for rule in found]


def test_every_url_is_listed_or_exempt() -> None:
    known = set(known_urls())
    listed = set(PAGES) | set(EXEMPT)
    assert known - listed == set(), "say in site_map.py how a browser reaches these"
    assert listed - known == set(), "these are gone from the URL map"
    assert set(PAGES) & set(EXEMPT) == set()


@dataclass
class Sweep:
    """Opens pages in one window per person and writes down what is wrong with them."""

    visitor: Visitor
    scene: Scene
    found: list[str] = field(default_factory=list)
    windows: dict[str, Page] = field(default_factory=dict)
    loads: list[Response] = field(default_factory=list)

    def window(self, who: str) -> Page:
        if who not in self.windows:
            page = self.visitor.open("/livez", user=self.scene.person(who))
            page.on("response", lambda answer: self.loads.append(answer))
            self.windows[who] = page
        return self.windows[who]

    def visit(
        self, name: str, path: str, *, who: str, status: int = 200, leads_on: bool = False
    ) -> None:
        page = self.window(who)
        self.loads.clear()
        page.set_viewport_size({"width": 1280, "height": 900})
        answer = page.goto(path)
        if answer is None or answer.status != status or page.url != answer.url:
            self.say(path, f"answers {answer and answer.status} at {page.url}")
            return
        if self.visitor.base_url + path != page.url and not leads_on:
            self.say(path, f"leads to {page.url}")
        self.weigh(path)
        self.read(page, path)
        for theme, width in LOOKS:
            self.look(page, name, path, theme, width)

    def look(self, page: Page, name: str, path: str, theme: str, width: int) -> None:
        """Change theme and size in place: the style sheet follows the attribute alone."""
        page.set_viewport_size({"width": width, "height": 900})
        page.evaluate("theme => { document.documentElement.dataset.theme = theme }", theme)
        for rule in violations(page):
            self.say(path, f"{theme} {width}: {rule}")
        wide = page.evaluate("document.documentElement.scrollWidth")
        if wide > width:
            self.say(path, f"{width}: is {wide} px wide")
        folder = os.environ.get("TOLLWAY_SHOTS")
        if folder:
            page.screenshot(path=Path(folder) / f"{name}-{theme}-{width}.png", full_page=True)

    def read(self, page: Page, path: str) -> None:
        if page.locator("h1").count() != 1:
            self.say(path, f"has {page.locator('h1').count()} h1")
        title = page.title()
        if len(title.removesuffix("· Tollway").strip()) < 3 or title.startswith("·"):
            self.say(path, f"has the title {title!r}")

    def weigh(self, path: str) -> None:
        parts = [r for r in self.loads if r.url.endswith((".css", ".js"))]
        size = sum(len(gzip.compress(r.body())) for r in parts)
        if len(self.loads) > MAX_REQUESTS or size > MAX_BYTES or not parts:
            self.say(path, f"{len(self.loads)} requests, {size} bytes of style and script")

    def say(self, path: str, text: str) -> None:
        self.found.append(f"{path[:120]} {text}")


def test_every_page_keeps_what_is_promised(visitor: Visitor, scene: Scene) -> None:
    visitor.expected = ("404 (Not Found)", "403 (Forbidden)", "400 (Bad Request)")
    sweep = Sweep(visitor, scene)
    urls = known_urls()
    for name, visits in PAGES.items():
        for index, visit in enumerate(visits):
            shot = f"{name}-{index}" if index else name
            path = urls[name].path(visit, scene.objects)
            sweep.visit(shot, path, who=visit.who, leads_on=visit.leads_on)
    for status, path, who in ERRORS:
        sweep.visit(f"error-{status}", path, who=who, status=int(status))
    assert not sweep.found, "\n".join(sweep.found)


def test_no_page_asks_the_database_more_than_twelve_times(scene: Scene) -> None:
    urls, found = known_urls(), {}
    for name, visits in PAGES.items():
        for visit in visits:
            asked = _queries(scene, urls[name], visit)
            if asked > QUERIES_OF.get(name, MAX_QUERIES):
                found[name + visit.query] = asked
    assert found == {}


def _queries(scene: Scene, url: Known, visit: Visit) -> int:
    client, person = Client(), scene.person(visit.who)
    if person is not None:
        client.force_login(person, backend="django.contrib.auth.backends.ModelBackend")
    with CaptureQueriesContext(connection) as captured:
        client.get(url.path(visit, scene.objects))
    return len(captured)


def test_a_failure_and_an_expired_form_have_pages_too(visitor: Visitor, scene: Scene) -> None:
    visitor.expected = ("500 (Internal Server Error)", "403 (Forbidden)")
    sweep = Sweep(visitor, scene)
    with override(Broken(now=NOW)):
        sweep.visit("error-500", "/app/northwind/usage", who="owner", status=500)
    page = visitor.open("/accounts/login/")
    page.context.clear_cookies()
    page.get_by_label("E-mail address").fill("ada@northwind.example")
    page.get_by_label("Password").fill("never mind")
    page.get_by_role("button", name="Sign in").click()
    assert page.get_by_role("heading", level=1).inner_text() == "The form expired"
    for theme, width in LOOKS:
        sweep.look(page, "error-csrf", "/accounts/login/", theme, width)
    assert not sweep.found, "\n".join(sweep.found)


class Broken(FakeRequestLog):
    """A reader that fails in a way that nobody anticipated."""

    def usage(self, where: UsageFilter, *, by: Sequence[Dimension] = ()) -> UsageReport:
        msg = "not anticipated"
        raise RuntimeError(msg)
