"""The demo's upstream API: countries, currencies and languages of the world.

The data is the Unicode CLDR that ships inside Babel; nothing is made up. `openapi.yaml` beside
this file describes every operation. It knows nothing of Tollway: keys, plans and limits are the
gateway's business.
"""

import argparse
import asyncio
import json
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from aiohttp import web
from babel import Locale, UnknownLocaleError
from babel.languages import get_official_languages
from babel.numbers import format_currency, get_currency_precision, get_territory_currencies

ENGLISH = Locale("en")
OPENAPI = Path(__file__).with_name("openapi.yaml")
TODAY = date(2026, 1, 1)  # the data's day: answers stay the same from one run to the next
NOT_COUNTRIES = {"EU", "EZ", "UN", "QO", "XA", "XB", "ZZ"}


def _countries() -> dict[str, dict[str, Any]]:
    names = {str(code): str(name) for code, name in ENGLISH.territories.items()}
    codes = sorted(c for c in names if len(c) == 2 and c.isalpha() and c not in NOT_COUNTRIES)
    return {
        code: {
            "code": code,
            "name": names[code],
            "local_names": {
                language: Locale(language).territories.get(code)
                for language in ("de", "es", "fr", "ja")
            },
            "currencies": get_territory_currencies(code, TODAY),
            "languages": list(get_official_languages(code)),
        }
        for code in codes
    }


def _currencies(countries: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    used: dict[str, list[str]] = {}
    for code, country in countries.items():
        for currency in country["currencies"]:
            used.setdefault(currency, []).append(code)
    return {
        code: {
            "code": code,
            "name": ENGLISH.currencies.get(code, code),
            "exponent": get_currency_precision(code),
            "countries": used[code],
        }
        for code in sorted(used)
    }


COUNTRIES = _countries()
CURRENCIES = _currencies(COUNTRIES)


def _problem(status: int, title: str, detail: str) -> web.Response:
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return web.json_response(body, status=status, content_type="application/problem+json")


def _page(request: web.Request) -> tuple[int, int]:
    limit, offset = int(request.query.get("limit", 50)), int(request.query.get("offset", 0))
    if not (1 <= limit <= 250 and offset >= 0):
        raise ValueError("limit is 1 to 250, offset 0 or more")
    return limit, offset


async def list_countries(request: web.Request) -> web.Response:
    try:
        limit, offset = _page(request)
    except ValueError as error:
        return _problem(400, "Bad page", str(error))
    currency = request.query.get("currency", "").upper()
    found = [c for c in COUNTRIES.values() if not currency or currency in c["currencies"]]
    return web.json_response({"total": len(found), "countries": found[offset : offset + limit]})


async def get_country(request: web.Request) -> web.Response:
    country = COUNTRIES.get(request.match_info["code"].upper())
    if country is None:
        return _problem(404, "Unknown country", "Use a two-letter ISO 3166-1 code.")
    return web.json_response(country)


async def list_currencies(request: web.Request) -> web.Response:
    try:
        limit, offset = _page(request)
    except ValueError as error:
        return _problem(400, "Bad page", str(error))
    found = list(CURRENCIES.values())
    return web.json_response({"total": len(found), "currencies": found[offset : offset + limit]})


async def get_currency(request: web.Request) -> web.Response:
    currency = CURRENCIES.get(request.match_info["code"].upper())
    if currency is None:
        return _problem(404, "Unknown currency", "Use a three-letter ISO 4217 code in use.")
    return web.json_response(currency)


async def format_amount(request: web.Request) -> web.Response:
    """Format an amount of money as people of a locale write it."""
    try:
        body = await request.json(loads=lambda text: json.loads(text, parse_float=Decimal))
        amount, currency = Decimal(str(body["amount"])), str(body["currency"]).upper()
        locale = Locale.parse(str(body.get("locale", "en")), sep="-")
    except (ValueError, KeyError, TypeError, InvalidOperation, UnknownLocaleError) as error:
        return _problem(422, "Cannot format", f"amount, currency and locale are needed: {error}")
    if currency not in CURRENCIES or not amount.is_finite():
        return _problem(422, "Cannot format", "Use a currency in use and a finite amount.")
    return web.json_response({"text": format_currency(amount, currency, locale=locale)})


async def export(request: web.Request) -> web.StreamResponse:
    """Stream every country as one JSON document a line."""
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    await response.prepare(request)
    for country in COUNTRIES.values():
        await response.write(json.dumps(country).encode() + b"\n")
    await response.write_eof()
    return response


async def fail(request: web.Request) -> web.Response:
    """Answer with the status asked for, so that a client's error handling can be tried."""
    status = int(request.match_info["status"])
    if status not in {400, 403, 404, 409, 422, 429, 500, 502, 503}:
        return _problem(404, "No such fault", "Use 400 to 503.")
    await asyncio.sleep(0)
    return _problem(status, "As asked", "This operation fails on purpose.")


async def health(_request: web.Request) -> web.Response:
    return web.json_response({"status": "ok", "countries": len(COUNTRIES)})


async def openapi(_request: web.Request) -> web.Response:
    return web.Response(body=OPENAPI.read_bytes(), content_type="application/yaml")


def build_app() -> web.Application:
    app = web.Application()
    app.add_routes(
        [
            web.get("/v1/countries", list_countries),
            web.get("/v1/countries/{code}", get_country),
            web.get("/v1/currencies", list_currencies),
            web.get("/v1/currencies/{code}", get_currency),
            web.post("/v1/format", format_amount),
            web.get("/v1/export", export),
            web.get(r"/v1/faults/{status:\d{3}}", fail),
            web.get("/healthz", health),
            web.get("/openapi.yaml", openapi),
        ]
    )
    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9000)
    options = parser.parse_args()
    web.run_app(build_app(), host=options.host, port=options.port, print=None, access_log=None)


if __name__ == "__main__":
    main()
