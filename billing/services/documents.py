"""Typesets invoices with typst: same input, same bytes; stored once issued, never made again."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import typst
from django.conf import settings

from billing.models import Invoice, InvoiceLine, UsageSnapshot
from billing.services.money_text import amount_text
from gateway.contracts.snapshot import DEFAULT_COUNT_POLICY

TEMPLATE = Path("templates", "billing", "invoice.typ")


def invoice_pdf(*, invoice: Invoice) -> bytes:
    """Return the invoice as PDF: the stored bytes, or those of the draft as it stands."""
    if invoice.pdf is not None:
        return bytes(invoice.pdf)
    return pdf_build(data=document_data(invoice=invoice), timestamp=_stamp(invoice))


def pdf_store(*, invoice: Invoice) -> None:
    """Keep the document of an issued invoice; a second run finds it there."""
    built = invoice_pdf(invoice=invoice)
    Invoice.objects.filter(pk=invoice.pk, pdf__isnull=True).update(pdf=built)


def pdf_build(*, data: dict[str, Any], timestamp: datetime) -> bytes:
    """Typeset the data. No system font, no network, the time given: a pure function."""
    built: bytes = typst.compile(
        str(settings.BASE_DIR.joinpath(TEMPLATE)),
        root=str(settings.BASE_DIR.joinpath("templates")),
        format="pdf",
        ignore_system_fonts=True,
        sys_inputs={"data": json.dumps(data, sort_keys=True)},
        pdf_standards=["a-3a", "ua-1"],
        timestamp=timestamp.replace(microsecond=0),
    )
    return built


def _stamp(invoice: Invoice) -> datetime:
    return invoice.issued_at or invoice.rated_at


def document_data(*, invoice: Invoice) -> dict[str, Any]:
    """Gather what the template prints; text only, so that typesetting decides nothing."""
    organization, version = invoice.organization, invoice.plan_version
    number = invoice.number or f"Draft {invoice.pk}"
    lines = list(invoice.lines.all())
    return {
        "title": f"Invoice {number}",
        "heading": f"Invoice {number}" if invoice.number else "Draft invoice",
        "seller": _seller(),
        "customer": {
            "name": organization.name,
            "address": _lines_of_text(organization.address) + _maybe(organization.country),
            "tax_id": organization.tax_id,
        },
        "facts": _facts(invoice),
        "currency": invoice.currency,
        "lines": [_line_data(line, invoice.currency) for line in lines],
        "totals": _totals(invoice),
        "total": amount_text(invoice.total_minor, invoice.currency),
        "usage": _usage(lines),
        "policy": count_policy_text(version.limits.get("count_policy")),
        "engine": invoice.engine_version,
        "plan": f"{version.plan.name}, version {version.number}",
        "content_hash": invoice.content_hash,
    }


def _seller() -> dict[str, Any]:
    return {
        "name": settings.ENV.seller_name,
        "address": _lines_of_text(settings.ENV.seller_address),
        "tax_id": settings.ENV.seller_tax_id,
    }


def _maybe(text: str) -> list[str]:
    return [text] if text else []


def _lines_of_text(text: str) -> list[str]:
    return [row.strip() for row in text.splitlines() if row.strip()]


def _facts(invoice: Invoice) -> list[list[str]]:
    rows = [
        ["Service period (UTC)", _span(invoice.service_from, invoice.service_to)],
        ["Document", f"{invoice.get_kind_display()}, no. {invoice.n} of this period"],
        ["Subscription", invoice.subscription_id],
    ]
    if invoice.issued_at:
        rows.append(["Issued", f"{invoice.issued_at:%Y-%m-%d}"])
    if invoice.due_at:
        rows.append(["Due", f"{invoice.due_at:%Y-%m-%d}"])
    return rows


def _span(start: datetime, end: datetime) -> str:
    return f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}"


def _line_data(line: InvoiceLine, currency: str) -> dict[str, Any]:
    before = line.billed_before_minor
    formula = [" · ".join(row.values()) for row in line.formula]
    if line.discount_minor:
        formula.append(f"less discount {amount_text(line.discount_minor, currency)}")
    return {
        "description": line.description,
        "span": _span(line.starts_at, line.ends_at),
        "before": amount_text(before, currency) if before else "",
        "formula": formula,
        "quantity": "" if line.quantity is None else f"{line.quantity:,f}",
        "amount": amount_text(line.amount_minor, currency),
    }


def _totals(invoice: Invoice) -> list[list[str]]:
    rows = [["Subtotal", amount_text(invoice.subtotal_minor, invoice.currency)]]
    for label, minor in (
        ("Discounts", -invoice.discount_minor),
        ("Minimum and maximum", invoice.adjustment_minor),
        ("Prepaid credit", -invoice.credit_minor),
    ):
        if minor:
            rows.append([label, amount_text(minor, invoice.currency)])
    tax = amount_text(invoice.tax_minor, invoice.currency)
    rows.append([f"Tax ({invoice.tax_rate_percent} %)", tax])
    return rows


def _usage(lines: list[InvoiceLine]) -> list[dict[str, str]]:
    ids = {snapshot_id for line in lines for snapshot_id in line.evidence}
    rows = UsageSnapshot.objects.filter(pk__in=ids).order_by("starts_at", "meter", "revision")
    return [
        {
            "meter": row.meter,
            "span": _span(row.starts_at, row.ends_at),
            "billed": f"{row.billed:,f}",
            "counted": f"{row.counted:,f}",
            "hash": row.id_hash[:16],
        }
        for row in rows
    ]


def count_policy_text(policy: dict[str, str] | None) -> list[str]:
    """Write the count policy as sentences, one per charge, with the outcomes it covers."""
    effective = {str(k.value): v.value for k, v in DEFAULT_COUNT_POLICY.items()} | (policy or {})
    words = {
        "billed": "Billed and counted against the quota",
        "counted": "Counted against the quota, not billed",
        "free": "Neither billed nor counted",
    }
    return [
        f"{words[charge]}: {', '.join(k for k, v in effective.items() if v == charge)}."
        for charge in words
        if charge in effective.values()
    ]
