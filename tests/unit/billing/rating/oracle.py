"""A second, slower rating, written from the rules alone, to compare the engine with.

It imports nothing of the product and is built the other way round: it reads the raw JSON, walks
key by key instead of segment by segment, and keeps running meters instead of joining usage. It
takes valid documents only. A difference means that one of the two misreads `docs/rating.md`.
"""

import json
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

Doc = dict[str, Any]
PLACES = {"JPY": 0, "USD": 2, "EUR": 2, "KWD": 3}
TIERED = {"graduated", "volume", "stairstep", "graduated_percentage"}


def num(value: Any) -> Fraction:
    return Fraction(0) if value is None else Fraction(str(value))


def when(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def stamp(instant: datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")


def nearest(value: Fraction) -> int:
    """Round halves away from zero."""
    floor = abs(value) // 1
    whole = floor + (1 if abs(value) - floor >= Fraction(1, 2) else 0)
    return int(whole) if value >= 0 else -int(whole)


def up(value: Fraction) -> int:
    floor = value // 1
    return int(floor) + (value != floor)


# ---- what one price asks for a number, or for a list of events --------------------------------


def units_of(price: Doc, raw: Fraction) -> Fraction:
    signed = price["model"] in ("per_unit", "dynamic")
    if raw < 0 and not signed:
        return Fraction(0)
    units = raw
    rule = price.get("transform")
    if rule:
        units = (
            units * num(rule["factor"])
            if rule["op"] == "multiply"
            else units / num(rule["factor"])
        )
        if rule.get("round"):
            step = Fraction(1, 10) ** int(rule.get("precision") or 0)
            size, sign = abs(units) / step, -1 if units < 0 else 1
            count = {"up": up(size), "down": int(size // 1), "half_up": nearest(size)}[
                rule["round"]
            ]
            units = sign * count * step
    if raw < 0:
        return units
    return max(Fraction(0), units - num(price.get("included")))


def bounds(price: Doc) -> list[tuple[Doc, Fraction, Fraction | None]]:
    rows, low = [], Fraction(0)
    for tier in price["tiers"]:
        high = None if tier is price["tiers"][-1] else num(tier["up_to"])
        rows.append((tier, low, high))
        low = high if high is not None else low
    return rows


def in_blocks(tier: Doc, units: Fraction) -> Fraction:
    return Fraction(up(units / num(tier["per"]))) if tier.get("per") is not None else units


def tiered(price: Doc, q: Fraction) -> Fraction:
    zero_flat = price.get("zero_usage_first_tier_flat")
    no_flat = zero_flat is False and q == 0
    rows = bounds(price)
    if price["model"] in ("volume", "stairstep"):
        tier = next(t for t, _, high in rows if high is None or q <= high)
        flat = Fraction(0) if no_flat else num(tier.get("flat_amount"))
        return flat + in_blocks(tier, q) * num(tier.get("unit_amount"))
    total = Fraction(0)
    for number, (tier, low, high) in enumerate(rows):
        if number and q <= low:
            continue
        inside = min(q, high) - low if high is not None else q - low
        if price["model"] == "graduated":
            total += in_blocks(tier, inside) * num(tier.get("unit_amount"))
        else:
            total += inside * num(tier.get("rate")) / 100
        total += Fraction(0) if no_flat else num(tier.get("flat_amount"))
    return total


def of_events(price: Doc, events: list[Fraction]) -> Fraction:
    """Count the two allowances down; None = that allowance does not exist."""
    count_left = None if price.get("free_events") is None else num(price["free_events"])
    value_left = None if price.get("free_amount") is None else num(price["free_amount"])
    has_any = count_left is not None or value_left is not None
    total = Fraction(0)
    for value in events:
        if value < 0:
            total += num(price["rate"]) * value / 100
            continue
        used_up = count_left == 0 or value_left == 0
        taxable = value
        if has_any and not used_up:
            if count_left is not None:
                count_left -= 1
            if value_left is None or value < value_left:
                value_left = None if value_left is None else value_left - value
                continue
            taxable, value_left = value - value_left, Fraction(0)
        asked = num(price["rate"]) * taxable / 100 + num(price.get("fixed_per_event"))
        if price.get("min_per_event") is not None and asked < num(price["min_per_event"]):
            asked = num(price["min_per_event"])
        if price.get("max_per_event") is not None and asked > num(price["max_per_event"]):
            asked = num(price["max_per_event"])
        total += asked
    return total


def asked(price: Doc, used: list[Fraction]) -> Fraction:
    """Return what a price asks for everything in `used`."""
    if price["model"] == "percentage":
        return of_events(price, used)
    q = units_of(price, sum(used, Fraction(0)))
    if price["model"] == "per_unit":
        return q * num(price["unit_amount"])
    if price["model"] == "package":
        return up(q / num(price["package_size"])) * num(price["package_amount"])
    if price["model"] == "dynamic":
        return q * (Fraction(1) if price.get("multiplier") is None else num(price["multiplier"]))
    return tiered(price, q)


# ---- sameness ---------------------------------------------------------------------------------


def same_form(price: Doc) -> str:
    """Write a price so that two that go on as one another are written alike."""
    whole = dict(price)
    if price["model"] == "flat":
        whole = {"timing": "in_advance", "proration": "second"} | _stated(whole)
    if price["model"] == "dynamic":
        whole = {"multiplier": "1"} | _stated(whole)
    if price["model"] in TIERED:
        whole = {"zero_usage_first_tier_flat": True} | _stated(whole)
    for name in ("minimum", "maximum", "description"):
        whole.pop(name, None)
    return json.dumps(_by_value(whole), sort_keys=True)


def _stated(row: Doc) -> Doc:
    return {name: value for name, value in row.items() if value is not None}


def _by_value(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _by_value(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_by_value(v) for v in value]
    try:
        return value if isinstance(value, bool) else str(Fraction(str(value)))
    except ValueError:
        return value


# ---- the document -----------------------------------------------------------------------------


class Bill:
    """Rates one document; `pieces_left` suppresses minimums and commitment."""

    def __init__(self, doc: Doc, usage: Doc | None = None, *, last: bool = True) -> None:
        self.doc, self.last = doc, last
        self.places = PLACES[doc["currency"]]
        self.start, self.end = when(doc["period"]["start"]), when(doc["period"]["end"])
        trial = doc.get("trial_ends_at")
        self.trial = when(trial) if trial else None
        rows = doc.get("segments") or [
            {
                "from": doc["period"]["start"],
                "to": doc["period"]["end"],
                "terms": doc["terms"],
                "usage": doc.get("usage") if usage is None else usage,
            }
        ]
        self.rows = [
            (when(r["from"]), when(r["to"]), r["terms"], self._usage(r), r.get("carry_over"))
            for r in rows
        ]
        self.lines: dict[str, Doc] = {}
        self.balances: list[int] = []
        self.tax = 0

    def _usage(self, row: Doc) -> dict[str, list[Fraction]]:
        free = self.doc.get("trial_usage_free") and self.trial and when(row["to"]) <= self.trial
        given = {} if free else row.get("usage") or {}
        return {
            meter: [num(v) for v in u["events"]] if "events" in u else [num(u["quantity"])]
            for meter, u in given.items()
        }

    def minor(self, amount: Fraction) -> int:
        return nearest(amount * 10**self.places)

    def share(self, since: datetime, until: datetime, how: str) -> Fraction:
        if since >= until or self.start == self.end:
            return Fraction(0)
        if how == "none":
            return Fraction(1)
        if how == "day":
            zone = ZoneInfo(self.doc.get("time_zone") or "UTC")
            days = [t.astimezone(zone).date() for t in (since, until, self.start, self.end)]
            whole = days[3] - days[2]
            return (
                Fraction((days[1] - days[0]) // timedelta(days=1), whole.days)
                if whole
                else Fraction(0)
            )
        tick = timedelta(microseconds=1)
        return Fraction((until - since) // tick, (self.end - self.start) // tick)

    def begins(self, at: datetime) -> datetime:
        return at if self.trial is None or self.trial < at else self.trial

    def put(self, key: str, owner: str | None, amount: int, segment: int, kind: str) -> None:
        assert key not in self.lines, key
        self.lines[key] = {
            "price_key": owner,
            "amount_minor": amount,
            "discount_minor": 0,
            "credit_minor": 0,
            "segment": segment,
            "kind": kind,
        }

    def price_of(self, index: int, key: str) -> Doc | None:
        return next((p for p in self.rows[index][2].get("prices") or [] if p["key"] == key), None)

    def goes_on(self, index: int, price: Doc) -> bool:
        """Say whether a price of segment `index` is the one of the segment before."""
        if index == 0 or self.rows[index - 1][1] != self.rows[index][0]:
            return False
        if price["model"] != "flat" and self.rows[index][4] is False:
            return False
        before = self.price_of(index - 1, price["key"])
        return before is not None and same_form(before) == same_form(price)

    def all_keys(self) -> list[str]:
        return list(dict.fromkeys(p["key"] for r in self.rows for p in r[2].get("prices") or []))

    def price_lines(self) -> None:
        for key in self.all_keys():
            seen = 0
            billed: int | None = None  # of this chain; None before its first usage line
            index = 0
            while index < len(self.rows):
                if self.rows[index][4] is False:
                    billed = None
                price = self.price_of(index, key)
                if price is None:
                    index += 1
                    continue
                stop = index + 1
                while stop < len(self.rows):
                    following = self.price_of(stop, key)
                    if following is None or not self.goes_on(stop, following):
                        break
                    if self.rows[stop][4] is False:
                        billed = None  # a flat price runs on over the break of the chain
                    stop += 1
                mark = "" if seen == 0 else f"@{stamp(self.rows[index][0])}"
                if price["model"] == "flat":
                    self.flat(price, index, stop, mark)
                else:
                    billed = self.used(price, index, stop, mark, billed)
                seen += 1
                index = stop

    def flat(self, price: Doc, first: int, stop: int, mark: str) -> None:
        key, amount = price["key"], num(price["amount"])
        how = price.get("proration") or "second"
        start, end = self.begins(self.rows[first][0]), self.rows[stop - 1][1]
        advance = (price.get("timing") or "in_advance") == "in_advance"
        due = Fraction(0)
        if start < end and advance:
            due = amount * self.share(start, self.end, how)
        elif start < end and (how != "none" or end == self.end):
            due = amount * self.share(start, end, how)
        self.put(key + mark, key, self.minor(due), first, "price")
        if advance and start < end < self.end and how != "none":
            back = self.minor(amount * self.share(end, self.end, how))
            self.put(f"{key}:unused{mark}", key, -back, first, "price")

    def used(self, price: Doc, first: int, stop: int, mark: str, billed: int | None) -> int:
        before: list[Fraction] = []
        for index in range(first + 1):
            if self.rows[index][4] is False:
                before = []
            if index < first:
                before += self.rows[index][3].get(price["meter"], [])
        own = [v for i in range(first, stop) for v in self.rows[i][3].get(price["meter"], [])]
        amount = self.minor(asked(price, before + own))
        is_sum = self.kind(price["meter"]) == "quantity"
        anything = sum(before) != 0 if is_sum else bool(before)
        if price["model"] == "stairstep":
            amount = max(0, amount - (billed or 0))
        elif billed is not None or anything:
            amount -= self.minor(asked(price, before))
        self.put(price["key"] + mark, price["key"], amount, first, "price")
        return (billed or 0) + amount

    def kind(self, meter: str) -> str:
        rows = self.doc.get("segments") or [self.doc]
        return (
            "events"
            if any("events" in (r.get("usage") or {}).get(meter, {}) for r in rows)
            else "quantity"
        )

    # -- what is taken off and put on --

    def reach(self, entry: Doc, low: int = 0, high: int | None = None) -> list[str]:
        wanted = entry.get("applies_to")
        return [
            key
            for key, line in self.lines.items()
            if (wanted is None or line["price_key"] in wanted)
            and (high is None or low <= line["segment"] <= high)
        ]

    def left(self, key: str) -> int:
        line = self.lines[key]
        return int(line["amount_minor"] - line["discount_minor"] - line["credit_minor"])

    def take(self, keys: list[str], amount: int, field: str) -> None:
        whole = sum(self.left(k) for k in keys)
        ideal = {k: Fraction(amount * self.left(k), whole) for k in keys}
        given = {k: int(v // 1) for k, v in ideal.items()}
        ranked = sorted(keys, key=lambda k: (given[k] - ideal[k], k))
        for k in ranked[: amount - sum(given.values())]:
            given[k] += 1
        for k in keys:
            self.lines[k][field] += given[k]

    def discounts(self) -> None:
        spans: list[tuple[Doc, int, int]] = []  # discount, first segment, last segment
        ends: list[int] = []
        for index, row in enumerate(self.rows):
            touching = index > 0 and self.rows[index - 1][1] == row[0]
            free, ends = (ends if touching else []), []
            for entry in row[2].get("discounts") or []:
                mine = self._discount_form(entry)
                for n in free:
                    if self._discount_form(spans[n][0]) == mine:
                        spans[n] = (spans[n][0], spans[n][1], index)
                        free = [f for f in free if f != n]
                        ends.append(n)
                        break
                else:
                    ends.append(len(spans))
                    spans.append((entry, index, index))
        for entry, low, high in spans:
            keys = self.reach(entry, low, high)
            whole = sum(self.left(k) for k in keys)
            if whole > 0:
                if entry["type"] == "percent":
                    amount = nearest(whole * num(entry["value"]) / 100)
                else:
                    amount = min(whole, self.minor(num(entry["value"])))
                self.take(keys, amount, "discount_minor")

    @staticmethod
    def _discount_form(entry: Doc) -> tuple[str, Fraction, frozenset[str] | None]:
        wanted = entry.get("applies_to")
        return entry["type"], num(entry["value"]), None if wanted is None else frozenset(wanted)

    def adjust(self) -> None:
        terms = self.rows[-1][2]
        for price in terms.get("prices") or []:
            key = price["key"]
            net = sum(self.left(k) for k, v in self.lines.items() if v["price_key"] == key)
            top, bottom = price.get("maximum"), price.get("minimum")
            if top is not None and net > self.minor(num(top)):
                self.put(f"{key}:maximum", key, self.minor(num(top)) - net, -1, "adjustment")
                net = self.minor(num(top))
            if bottom is not None and self.last and net < self.minor(num(bottom)):
                self.put(f"{key}:minimum", key, self.minor(num(bottom)) - net, -1, "adjustment")
        if self.last:
            floor = self.committed()
            missing = 0 if floor is None else floor - sum(self.left(k) for k in self.lines)
            if missing > 0:
                self.put("commitment", None, missing, -1, "adjustment")

    def committed(self) -> int | None:
        total, held, any_is_due = Fraction(0), None, False
        for start, end, terms, _, _ in self.rows:
            asked_for = terms.get("minimum_commitment")
            since = self.begins(start)
            if asked_for is None or since >= end:
                held = None
                continue
            if not isinstance(asked_for, dict):
                asked_for = {"amount": asked_for}
            any_is_due = True
            how = asked_for.get("proration") or "second"
            whole = (num(asked_for["amount"]), how)
            if not (how == "none" and held == (whole, start)):
                total += whole[0] * self.share(since, end, how)
            held = (whole, end)
        return self.minor(total) if any_is_due else None

    def draw(self) -> None:
        entries = self.rows[-1][2].get("credits") or []
        self.balances = [self.minor(num(c["amount"])) for c in entries]
        far = datetime.max.replace(tzinfo=UTC)
        expiry = [when(c["expires_at"]) if c.get("expires_at") else far for c in entries]
        order = sorted(
            range(len(entries)), key=lambda i: (entries[i].get("priority") or 0, expiry[i], i)
        )
        for i in order:
            keys = self.reach(entries[i])
            amount = min(self.balances[i], sum(self.left(k) for k in keys))
            if expiry[i] >= self.end and amount > 0:
                self.take(keys, amount, "credit_minor")
                self.balances[i] -= amount

    def run(self) -> Doc:
        self.price_lines()
        self.discounts()
        self.adjust()
        self.draw()
        for entry in self.rows[-1][2].get("tax") or []:
            base = sum(self.left(k) for k in self.reach(entry))
            self.tax += nearest(base * num(entry["rate"]) / 100)
        total = sum(self.left(k) for k in self.lines) + self.tax
        of_kind = {"price": 0, "adjustment": 0}
        for line in self.lines.values():
            of_kind[line["kind"]] += line["amount_minor"]
        return {
            "lines": {
                k: (v["price_key"], v["amount_minor"], v["discount_minor"], v["credit_minor"])
                for k, v in self.lines.items()
            },
            "subtotal_minor": of_kind["price"],
            "adjustment_minor": of_kind["adjustment"],
            "discount_minor": sum(v["discount_minor"] for v in self.lines.values()),
            "credit_minor": sum(v["credit_minor"] for v in self.lines.values()),
            "tax_minor": self.tax,
            "total_minor": total,
            "credit_balances_minor": self.balances,
            "pieces": [],
        }


def oracle(doc: Doc) -> Doc:
    """Rate a valid document."""
    usage = doc.get("usage") or {}
    count = max((len(u.get("cumulative", ())) for u in usage.values()), default=0)
    if not count:
        return Bill(doc).run()
    bills = [
        Bill(
            doc,
            {m: {"quantity": u["cumulative"][n]} for m, u in usage.items()},
            last=n == count - 1,
        ).run()
        for n in range(count)
    ]
    totals = [0] + [bill["total_minor"] for bill in bills]
    pieces = [{"total_minor": totals[n + 1] - totals[n]} for n in range(count)]
    return bills[-1] | {"pieces": pieces}
