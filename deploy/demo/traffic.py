"""The demo's clients: the requests they send, what they count, and the totals compared.

Knows the product from outside only: the gateway's and the portal's addresses.
"""

import asyncio
import csv
import http.cookiejar
import io
import json
import re
import time
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import aiohttp

POLL_S = 0.5
CLOSE_WITHIN_S = 180
CUSTOMERS = (("free", 2_200), ("starter", 7_000), ("payg", 2_500))
LANES = 8
CODES = ("de", "fr", "jp", "br", "ke", "in", "us", "nz")


@dataclass(slots=True)
class Customer:
    """One customer of the demo and what its client saw: status -> answers."""

    plan: str
    email: str
    slug: str
    subscription_id: str
    key: str
    token: str
    statuses: Counter[str] = field(default_factory=Counter)

    @property
    def billed(self) -> int:
        return sum(n for status, n in self.statuses.items() if status.startswith(("2", "3")))

    @property
    def counted(self) -> int:
        """Upstream 4xx answers; refusals are told apart by their code."""
        return self.statuses["404"] + self.statuses["422"]


def request_of(number: int) -> tuple[str, str, bytes | None]:
    """Choose the n-th request: mostly good ones, some unknown codes, failures, posts, streams."""
    if number % 25 == 3:
        return "GET", "/v1/countries/zz", None
    if number % 33 == 5:
        return "GET", "/v1/faults/500", None
    if number % 50 == 7:
        return "POST", "/v1/format", b'{"amount": "1234.5", "currency": "EUR"}'
    if number % 100 == 9:
        return "GET", "/v1/export", None
    return "GET", f"/v1/countries/{CODES[number % len(CODES)]}", None


async def call(session: aiohttp.ClientSession, customer: Customer, url: str, number: int) -> None:
    method, path, body = request_of(number)
    headers = {"X-API-Key": customer.key, "Content-Type": "application/json"}
    async with session.request(method, url + path, data=body, headers=headers) as response:
        answer = await response.read()
        name = str(response.status)
        if response.status == 429:
            name = "429 quota" if b"quota_exceeded" in answer else "429 rate"
        customer.statuses[name] += 1
    if response.status == 429:
        await asyncio.sleep(0.1)  # refusals beyond 100 a second are rolled up, not listed


async def send(customers: list[Customer], *, url: str) -> None:
    """Send every customer's requests, `LANES` at a time each, to their last byte."""
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(timeout=timeout) as session:

        async def client(customer: Customer, numbers: range) -> None:
            for number in numbers:
                await call(session, customer, url, number)

        await asyncio.gather(
            *(
                client(customer, range(lane, total, LANES))
                for customer, (_, total) in zip(customers, CUSTOMERS, strict=True)
                for lane in range(LANES)
            )
        )


class Browser:
    """Signs in to the portal as a person would and reads pages."""

    def __init__(self, portal_url: str) -> None:
        self._url = portal_url
        jar = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))

    def read(self, path: str, data: dict[str, str] | None = None) -> str:
        body = urllib.parse.urlencode(data).encode() if data else None
        request = urllib.request.Request(  # noqa: S310 - loopback http
            self._url + path, data=body, headers={"Referer": self._url + path}
        )
        with self._opener.open(request, timeout=30) as response:
            return str(response.read().decode())

    def sign_in(self, email: str, password: str) -> None:
        page = self.read("/accounts/login/")
        found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
        token = found.group(1) if found else ""
        form = {"csrfmiddlewaretoken": token, "login": email, "password": password}
        self.read("/accounts/login/", form)


def usage_query(day: str) -> str:
    return f"env=live&by=status&from={day}&to={day}"


def usage_page(customer: Customer, *, portal_url: str, password: str, day: str) -> tuple[int, int]:
    """Return (requests answered 2xx or 3xx, units) of the usage page's CSV by status."""
    browser = Browser(portal_url)
    browser.sign_in(customer.email, password)
    query = usage_query(day)
    rows = csv.DictReader(io.StringIO(browser.read(f"/app/{customer.slug}/usage.csv?{query}")))
    good = units = 0
    for row in rows:
        status = next(iter(row.values()))
        good += int(row["requests"]) if status.startswith(("2", "3")) else 0
        units += int(row.get("units_requests", 0))
    return good, units


def usage_api(customer: Customer, *, portal_url: str, day: str) -> tuple[int, int]:
    """Return the same two numbers from the REST API."""
    request = urllib.request.Request(  # noqa: S310 - loopback http
        f"{portal_url}/api/v1/organizations/{customer.slug}/usage?{usage_query(day)}",
        headers={"Authorization": f"Bearer {customer.token}"},
    )
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
        document = json.load(response)
    good = sum(row["requests"] for row in document["rows"] if row["name"].startswith(("2", "3")))
    return good, int(document["total"]["units"].get("requests", "0"))


async def own_usage(customer: Customer, *, url: str) -> int:
    """Return the units that the gateway has counted in the billing period."""
    headers = {"X-API-Key": customer.key}
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{url}/me/usage", headers=headers) as response,
    ):
        document = await response.json()
    return int(document["usage"][0]["meters"][0]["used"])


def wait_for(ready: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + CLOSE_WITHIN_S
    while not (found := ready()):
        if time.monotonic() > deadline:
            msg = f"{what} did not happen within {CLOSE_WITHIN_S} s."
            raise SystemExit(msg)
        time.sleep(POLL_S)
    return found


def compare(customers: list[Customer], closed: dict[str, int], **portal: str) -> int:
    """Print a row per customer and number; return how many customers disagree."""
    wrong = 0
    for customer in customers:
        good, units = usage_page(
            customer, portal_url=portal["url"], password=portal["password"], day=portal["day"]
        )
        api_good, api_units = usage_api(customer, portal_url=portal["url"], day=portal["day"])
        numbers = (customer.billed, good, api_good, closed[customer.subscription_id])
        keeps = customer.billed + customer.counted
        counters = (keeps, units, api_units, int(portal[f"used:{customer.subscription_id}"]))
        is_equal = len(set(numbers)) == 1 and len(set(counters)) == 1
        wrong += not is_equal
        print(  # noqa: T201
            f"{customer.plan:<8} client {dict(sorted(customer.statuses.items()))}\n"
            f"         billed: client {numbers[0]}, usage page {numbers[1]}, "
            f"REST API {numbers[2]}, closed period {numbers[3]}\n"
            f"         billed + counted: client {counters[0]}, usage page {counters[1]}, "
            f"REST API {counters[2]}, /me/usage {counters[3]}\n"
            f"         {'equal' if is_equal else 'DIFFERENT'}"
        )
    return wrong


def today(now: Any) -> str:
    return str(now.date().isoformat())


def a_month() -> timedelta:
    return timedelta(days=31, hours=1)
