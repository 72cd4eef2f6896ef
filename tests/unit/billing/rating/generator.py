"""A seeded generator of rating documents over the whole format, and of ones to be refused.

`documents(seed, count)` yields (document, path): path is None for a valid document, else the field
that must be among the refused ones. The same seed gives the same documents for ever.
"""

import copy
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

Doc = dict[str, Any]

MODELS = (
    "flat",
    "per_unit",
    "graduated",
    "volume",
    "package",
    "stairstep",
    "percentage",
    "graduated_percentage",
    "dynamic",
)
CURRENCIES = ("USD", "USD", "JPY", "KWD", "EUR")
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Pacific/Auckland", "Asia/Kolkata")
METERS = ("requests", "tokens", "sales", "payouts")
STARTS = (
    datetime(2026, 1, 1, tzinfo=UTC),
    datetime(2024, 1, 31, tzinfo=UTC),
    datetime(2026, 3, 15, 7, 30, tzinfo=UTC),
    datetime(2025, 10, 1, 22, tzinfo=UTC),
    datetime(2026, 3, 28, 23, tzinfo=UTC),
)


class Generator:
    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.kinds: dict[str, str] = {}  # meter -> "quantity" or "events"
        self.last_cut = 0

    def often(self, percent: int) -> bool:
        return self.rng.randrange(100) < percent

    def decimal(self, low: int, high: int, places: int) -> str:
        """A decimal in [low, high], written with or without trailing zeros."""
        scale: int = 10**places
        number = self.rng.randint(low * scale, high * scale)
        sign, size = "-" if number < 0 else "", abs(number)
        text = f"{sign}{size // scale}" + (f".{size % scale:0{places}d}" if places else "")
        if places and self.often(30):
            text = text.rstrip("0").rstrip(".")
        return text if text != "-0" else "0"

    def money(self, high: int = 200) -> str:
        return self.decimal(0, high, self.rng.choice((0, 2, 2, 3)))

    def unit_price(self) -> str:
        return self.decimal(0, self.rng.choice((1, 1, 5)), self.rng.choice((0, 2, 4, 6, 12)))

    def quantity(self) -> str:
        roll = self.rng.randrange(100)
        if roll < 12:
            return "0"
        if roll < 20:
            return self.decimal(-3000, -1, self.rng.choice((0, 3)))
        if roll < 40:
            return str(self.rng.choice((10, 100, 1000, 5000, 10000)))  # on the bounds
        if roll < 43:
            return self.decimal(10**17, 10**18, 12)
        return self.decimal(0, 20000, self.rng.choice((0, 0, 1, 3, 12)))

    def events(self) -> list[str]:
        count = self.rng.choice((0, 1, 2, 3, 5, 9))
        return [self.decimal(-20 if self.often(15) else 0, 300, 2) for _ in range(count)]

    # -- terms --

    def tiers(self, model: str) -> list[Doc]:
        tops = sorted(self.rng.sample((5, 10, 100, 1000, 5000, 10000), self.rng.randint(0, 3)))
        ends: list[str | None] = [
            str(t) if self.often(80) else self.decimal(t, t, 2)[:-1] + "5" for t in tops
        ]
        ends += [None] if self.often(80) or not ends else []
        return [self.tier(model, end) for end in ends]

    def tier(self, model: str, up_to: str | None) -> Doc:
        tier: Doc = {"up_to": up_to}
        if model in ("graduated", "volume"):
            tier["unit_amount"] = self.unit_price()
            if self.often(20):
                tier["per"] = self.rng.choice(("10", "1000", "2.5", "7"))
        if model == "graduated_percentage":
            tier["rate"] = self.decimal(0, 15, 2)
        if model == "stairstep" or self.often(40):
            tier["flat_amount"] = self.money(50)
        return tier

    def transform(self) -> Doc:
        rule: Doc = {
            "op": self.rng.choice(("multiply", "divide")),
            "factor": self.rng.choice(("1000", "3", "0.5", "7", "1.25")),
        }
        if self.often(80):
            rule["round"] = self.rng.choice(("up", "down", "half_up"))
            if self.often(60):
                rule["precision"] = self.rng.choice((0, 1, 2, -1))
        return rule

    def meter(self, model: str) -> str | None:
        """Pick a meter whose kind of usage the model reads; None where there is none."""
        wanted = {"percentage": {"events"}, "dynamic": {"events", "quantity"}}
        wanted["graduated_percentage"] = wanted["dynamic"]
        fits = [m for m in METERS if self.kinds[m] in wanted.get(model, {"quantity"})]
        return self.rng.choice(fits) if fits else None

    def price(self, key: str) -> Doc:
        model = self.rng.choice(MODELS)
        meter = None if model == "flat" else self.meter(model)
        if meter is None:
            model = "flat"
        price: Doc = {"key": key, "model": model}
        if meter is not None:
            price["meter"] = meter
        price |= self.of_model(model)
        if model not in ("flat", "percentage"):
            if self.often(20):
                price["included"] = self.rng.choice(("0", "10", "2500", "3.5"))
            if self.often(20):
                price["transform"] = self.transform()
        low, high = sorted((self.rng.randint(0, 60), self.rng.randint(30, 400)))
        if self.often(12):
            price["minimum"] = f"{low}.5"
        if self.often(12):
            price["maximum"] = f"{high}.5"
        if self.often(10):
            price["description"] = self.rng.choice(("Calls", "Überweisungen", "Base fee"))
        if self.often(10):
            price["included" if model == "per_unit" else "description"] = None
        return price

    def of_model(self, model: str) -> Doc:
        if model == "flat":
            row: Doc = {"amount": self.money()}
            if self.often(60):
                row["timing"] = self.rng.choice(("in_advance", "in_arrears"))
            if self.often(50):
                row["proration"] = self.rng.choice(("second", "day", "none"))
            return row
        if model == "per_unit":
            return {"unit_amount": self.unit_price()}
        if model == "package":
            return {
                "package_size": self.rng.choice(("1000", "7", "2.5")),
                "package_amount": self.money(9),
            }
        if model == "dynamic":
            return {"multiplier": self.decimal(0, 3, 3)} if self.often(40) else {}
        if model == "percentage":
            return self.percentage()
        row = {"tiers": self.tiers(model)}
        if self.often(40):
            row["zero_usage_first_tier_flat"] = self.often(50)
        return row

    def percentage(self) -> Doc:
        row: Doc = {"rate": self.decimal(0, 12, 2)}
        if self.often(60):
            row["fixed_per_event"] = self.decimal(0, 1, 2)
        if self.often(40):
            row["free_events"] = str(self.rng.randint(0, 4))
        if self.often(40):
            row["free_amount"] = self.rng.choice(("0", "100", "250.00", self.money()))
        if self.often(30):
            row["min_per_event"] = self.decimal(0, 1, 2)
        if self.often(30):
            row["max_per_event"] = self.decimal(2, 9, 2)
        return row

    def applies(self, keys: list[str]) -> Doc:
        if self.often(50):
            return {}
        return {"applies_to": self.rng.sample(keys, self.rng.randint(0, len(keys)))}

    def terms(self, keys: list[str]) -> Doc:
        chosen = self.rng.sample(keys, self.rng.randint(1, len(keys)))
        terms: Doc = {"prices": [self.price(key) for key in chosen]}
        if self.often(25):
            amount = self.money(900)
            how = self.rng.choice(("second", "day", "none"))
            terms["minimum_commitment"] = (
                amount if self.often(50) else {"amount": amount, "proration": how}
            )
        return terms

    def extras(self, terms: Doc, keys: list[str]) -> None:
        """Add discounts, credits and tax that name prices of the document."""
        if self.often(45):
            terms["discounts"] = [self.discount(keys) for _ in range(self.rng.randint(1, 3))]
        if self.often(35):
            terms["credits"] = [self.credit(keys) for _ in range(self.rng.randint(1, 3))]
        if self.often(40):
            terms["tax"] = [
                {"rate": self.decimal(0, 25, self.rng.choice((0, 1, 3)))} | self.applies(keys)
                for _ in range(self.rng.randint(1, 2))
            ]

    def discount(self, keys: list[str]) -> Doc:
        if self.often(60):
            row = {"type": "percent", "value": self.rng.choice(("10", "33.333", "100", "7.5"))}
        else:
            row = {"type": "fixed", "value": self.money(40)}
        return row | self.applies(keys)

    def credit(self, keys: list[str]) -> Doc:
        row: Doc = {"amount": self.money(80)}
        if self.often(60):
            row["priority"] = self.rng.randint(0, 2)
        if self.often(50):
            expires = self.rng.choice(STARTS) + timedelta(days=self.rng.choice((0, 31, 60, 365)))
            row["expires_at"] = self.time(expires)
        return row | self.applies(keys)

    # -- documents --

    def time(self, instant: datetime) -> str:
        if self.often(15):
            return (instant + timedelta(hours=2)).isoformat().replace("+00:00", "+02:00")
        return instant.isoformat().replace("+00:00", "Z")

    def usage(self) -> Doc:
        found: Doc = {}
        for meter in METERS:
            if self.often(75):
                kind = self.kinds[meter]
                found[meter] = {kind: self.quantity() if kind == "quantity" else self.events()}
        return found

    def document(self) -> Doc:
        self.kinds = {m: "events" if self.often(45) else "quantity" for m in METERS}
        start = self.rng.choice(STARTS)
        end = start + timedelta(days=self.rng.choice((28, 29, 30, 31, 31, 1, 0)))
        doc: Doc = {
            "currency": self.rng.choice(CURRENCIES),
            "period": {"start": self.time(start), "end": self.time(end)},
        }
        if self.often(50):
            doc["time_zone"] = self.rng.choice(ZONES)
        if self.often(20):
            seconds = self.rng.randint(-86400, max(1, (end - start).days) * 100_000)
            doc["trial_ends_at"] = self.time(start + timedelta(seconds=seconds))
            if self.often(50):
                doc["trial_usage_free"] = self.often(70)
        keys = [f"p{n}" for n in range(self.rng.randint(1, 5))]
        if self.often(45) and end > start:
            doc["segments"] = self.segments(start, end, keys)
        else:
            pieces = self.often(15)
            if pieces:
                self.kinds = dict.fromkeys(METERS, "quantity")
            doc["terms"] = self.terms(keys)
            self.extras(doc["terms"], [p["key"] for p in doc["terms"]["prices"]])
            doc["usage"] = self.pieces() if pieces else self.usage()
        return doc

    def pieces(self) -> Doc:
        count = self.rng.randint(1, 4)
        return {
            meter: {"cumulative": [self.quantity() for _ in range(count)]}
            for meter in METERS
            if self.often(75)
        }

    def segments(self, start: datetime, end: datetime, keys: list[str]) -> list[Doc]:
        span = int((end - start) / timedelta(seconds=1))
        count = self.rng.randint(1, 4)
        cuts = sorted(self.rng.sample(range(span + 1), 2 * count))
        if self.often(50):
            cuts = [0, *cuts[1:-1], span]
        terms = self.terms(keys)
        rows: list[Doc] = []
        for number in range(count):
            since, until = cuts[2 * number], cuts[2 * number + 1]
            if rows and self.often(75):  # adjoin: no gap
                since = self.last_cut
            if rows:
                terms = self.changed(terms, keys)
            row: Doc = {
                "from": self.time(start + timedelta(seconds=since)),
                "to": self.time(start + timedelta(seconds=until)),
                "terms": terms,
                "usage": self.usage(),
            }
            if self.often(30):
                row["carry_over"] = self.often(50)
            rows.append(row)
            self.last_cut = until
        self.adorn(rows)
        return rows

    def adorn(self, rows: list[Doc]) -> None:
        """Give the segments discounts, credits and tax, often those of the segment before."""
        used = sorted({p["key"] for r in rows for p in r["terms"]["prices"]})
        for number, row in enumerate(rows):
            row["terms"] = copy.deepcopy(row["terms"])
            if number == 0 or self.often(60):
                self.extras(row["terms"], used)
                continue
            for name in ("discounts", "credits", "tax"):
                if name in rows[number - 1]["terms"]:
                    row["terms"][name] = copy.deepcopy(rows[number - 1]["terms"][name])
            if self.often(40):
                self.rng.shuffle(row["terms"].get("discounts", []))

    def changed(self, terms: Doc, keys: list[str]) -> Doc:
        """The next segment's terms: the same, the same written otherwise, a part, or new."""
        if self.often(25):
            return self.terms(keys)
        following = copy.deepcopy(terms)
        for index, price in enumerate(following["prices"]):
            if self.often(20):
                following["prices"][index] = self.price(price["key"])
            elif self.often(30):
                price["description"] = "written otherwise"
                price["minimum"] = None
                if price["model"] == "flat":
                    price["timing"] = price.get("timing") or "in_advance"
                    price["amount"] += "0" if "." in price["amount"] else ".0"
        if self.often(15) and len(following["prices"]) > 1:
            following["prices"].pop()
        return following


# ---- documents that must be refused -----------------------------------------------------------

Spoiler = Callable[[random.Random, Doc], str]


def _terms_of(doc: Doc) -> tuple[str, Doc]:
    if doc.get("segments"):
        return "segments[0].terms", doc["segments"][0]["terms"]
    return "terms", doc["terms"]


def _unknown(rng: random.Random, doc: Doc) -> str:
    doc["colour"] = "red"
    return "colour"


def _unknown_in_price(rng: random.Random, doc: Doc) -> str:
    path, terms = _terms_of(doc)
    terms["prices"][0]["unit_price"] = "1"
    return f"{path}.prices[0].unit_price"


def _negative(rng: random.Random, doc: Doc) -> str:
    path, terms = _terms_of(doc)
    terms["prices"].append({"key": "neg", "model": "flat", "amount": "-1"})
    return f"{path}.prices[{len(terms['prices']) - 1}].amount"


def _tier_overlap(rng: random.Random, doc: Doc) -> str:
    path, terms = _terms_of(doc)
    tiers = [{"up_to": "10", "unit_amount": "1"}, {"up_to": "10.0", "unit_amount": "1"}]
    terms["prices"].append({"key": "bad", "model": "volume", "meter": "unused", "tiers": tiers})
    return f"{path}.prices[{len(terms['prices']) - 1}].tiers[1].up_to"


def _open_tier_first(rng: random.Random, doc: Doc) -> str:
    path, terms = _terms_of(doc)
    tiers = [{"up_to": None, "flat_amount": "1"}, {"up_to": "10", "flat_amount": "1"}]
    terms["prices"].append({"key": "bad", "model": "stairstep", "meter": "unused", "tiers": tiers})
    return f"{path}.prices[{len(terms['prices']) - 1}].tiers[0].up_to"


def _naive(rng: random.Random, doc: Doc) -> str:
    doc["period"]["start"] = "2026-01-01T00:00:00"
    return "period.start"


def _wrong_kind(rng: random.Random, doc: Doc) -> str:
    path, terms = _terms_of(doc)
    terms["prices"].append({"key": "odd", "model": "per_unit", "meter": "odd", "unit_amount": "1"})
    holder = doc["segments"][0] if doc.get("segments") else doc
    holder.setdefault("usage", {})
    if any("cumulative" in usage for usage in holder["usage"].values()):
        holder["usage"] = {}
    holder["usage"]["odd"] = {"events": ["1"]}
    return path.removesuffix("terms") + "usage.odd.events"


def _too_many_places(rng: random.Random, doc: Doc) -> str:
    path, terms = _terms_of(doc)
    terms["minimum_commitment"] = "0.0000000000001"
    return f"{path}.minimum_commitment"


def _percent_above_hundred(rng: random.Random, doc: Doc) -> str:
    path, terms = _terms_of(doc)
    terms["discounts"] = [{"type": "percent", "value": "100.01"}]
    return f"{path}.discounts[0].value"


def _other_currency(rng: random.Random, doc: Doc) -> str:
    path, terms = _terms_of(doc)
    terms["prices"][0]["currency"] = "CHF"
    return f"{path}.prices[0].currency"


def _field_of_percentage(rng: random.Random, doc: Doc) -> str:
    path, terms = _terms_of(doc)
    price = {"key": "pct", "model": "percentage", "meter": "unused", "rate": "1", "included": "5"}
    terms["prices"].append(price)
    return f"{path}.prices[{len(terms['prices']) - 1}].included"


def _overlapping_segments(rng: random.Random, doc: Doc) -> str:
    terms = doc.pop("terms", None) or doc["segments"][0]["terms"]
    doc.pop("usage", None)
    doc["period"] = {"start": "2026-01-01T00:00:00Z", "end": "2026-02-01T00:00:00Z"}
    days = (("01", "16"), ("15", "31"))
    doc["segments"] = [
        {"from": f"2026-01-{a}T00:00:00Z", "to": f"2026-01-{b}T00:00:00Z", "terms": terms}
        for a, b in days
    ]
    return "segments[1].from"


SPOILERS: tuple[Spoiler, ...] = (
    _unknown,
    _unknown_in_price,
    _negative,
    _tier_overlap,
    _open_tier_first,
    _naive,
    _wrong_kind,
    _too_many_places,
    _percent_above_hundred,
    _other_currency,
    _field_of_percentage,
    _overlapping_segments,
)


def documents(seed: int, count: int) -> Iterator[tuple[Doc, str | None]]:
    """Yield documents; one in twelve is to be refused, with the path that must be named."""
    for number in range(count):
        rng = random.Random(f"{seed}:{number}")
        doc = Generator(rng).document()
        path = rng.choice(SPOILERS)(rng, doc) if number % 12 == 11 else None
        yield doc, path
