"""A real server and a real Chromium; a page that complains fails its test.

Every page fails on a console error, a policy violation, a script error, or a request that leaves
the loopback interface (`ux.md` §6). Without Chromium the tests are skipped by name; where CI runs
them, that is an error.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.test import Client
from playwright.sync_api import Browser, BrowserContext, Page, Route, sync_playwright
from pytest_django.live_server_helper import LiveServer

from portal.models import User
from tests.e2e.installation import Outside, running
from tests.servers import skip_or_fail

FLAGS: Final = [
    "--no-sandbox",  # the suite runs inside a container
    "--disable-quic",
    "--disable-background-networking",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
]
_LOOPBACK: Final = {"127.0.0.1", "localhost", "::1"}
_LISTEN: Final = """
document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`policy violation: ${event.violatedDirective} ${event.blockedURI}`));
"""

# the sync driver runs an event loop in this thread, which Django would mistake for async code
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"


@pytest.fixture(scope="package")  # its driver occupies this thread's event loop while it lives
def browser() -> Iterator[Browser]:
    executable = shutil.which("chromium")
    if executable is None:
        skip_or_fail("chromium is not installed")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield found
        found.close()


@pytest.fixture(scope="package")
def outside() -> Iterator[Outside]:
    """A usage engine and Stripe's double, shared by all tests."""
    with running() as found:
        yield found


@dataclass
class Visitor:
    """Opens pages of the live server and collects what they complain about."""

    browser: Browser
    base_url: str
    complaints: list[str] = field(default_factory=list)
    expected: tuple[str, ...] = ()
    _contexts: list[BrowserContext] = field(default_factory=list)

    def open(
        self,
        path: str,
        *,
        user: User | None = None,
        theme: str = "light",
        width: int = 1280,
        javascript: bool = True,
    ) -> Page:
        """Open a path in a fresh context, signed in as `user`."""
        context = self.browser.new_context(
            viewport={"width": width, "height": 900},
            java_script_enabled=javascript,
            base_url=self.base_url,
            reduced_motion="reduce",
        )
        self._contexts.append(context)
        context.set_default_timeout(10_000)
        host = urlsplit(self.base_url).hostname or ""
        cookies = [{"name": "theme", "value": theme, "domain": host, "path": "/"}]
        if user is not None:
            cookies.append(
                {
                    "name": settings.SESSION_COOKIE_NAME,
                    "value": _session_of(user),
                    "domain": host,
                    "path": "/",
                }
            )
        context.add_cookies(cookies)  # type: ignore[arg-type]
        context.route("**/*", self._loopback_only)
        if javascript:
            context.add_init_script(_LISTEN)
        page = context.new_page()
        page.on("console", lambda m: self._note(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: self._note(str(error)))
        page.goto(path)
        return page

    def _note(self, text: str) -> None:
        if not any(part in text for part in self.expected):
            self.complaints.append(text)

    def _loopback_only(self, route: Route) -> None:
        url = urlsplit(route.request.url)
        if url.scheme in {"data", "blob"} or url.hostname in _LOOPBACK:
            route.continue_()
            return
        self.complaints.append(f"left the machine: {route.request.url}")
        route.abort()

    def close(self) -> None:
        for context in self._contexts:
            context.close()


def _session_of(user: User) -> str:
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client.cookies[settings.SESSION_COOKIE_NAME].value


@pytest.fixture
def visitor(browser: Browser, live_server: LiveServer) -> Iterator[Visitor]:
    found = Visitor(browser, live_server.url)
    yield found
    found.close()
    assert found.complaints == []


@pytest.fixture
def fits() -> Callable[[Page], None]:
    """Assert that the page does not scroll sideways."""

    def check(page: Page) -> None:
        sizes = page.evaluate(
            "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        assert sizes[0] <= sizes[1], f"{page.url} is {sizes[0]} px wide in {sizes[1]} px"

    return check
