"""Typesets invoices and credit notes: same input, same bytes; stored when issued, and kept."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import typst
from django.conf import settings

from billing.models import CreditNote, Invoice, InvoiceLine, NoteSettlement
from billing.selectors import evidence_list
from billing.services.money_text import amount_text
from gateway.contracts.snapshot import DEFAULT_COUNT_POLICY
from portal.models import Organization

TEMPLATES = Path("templates", "billing")


def invoice_pdf(*, invoice: Invoice) -> bytes:
    """Return the invoice as PDF: the stored bytes, or those of the draft as it stands."""
    if invoice.pdf is not None:
        return bytes(invoice.pdf)
    return pdf_build(
        template="invoice.typ",
        data=document_data(invoice=invoice),
        timestamp=invoice.issued_at or invoice.rated_at,
    )


def pdf_store(*, invoice: Invoice) -> None:
    """Keep the document of an issued invoice; a second run finds it there."""
    built = invoice_pdf(invoice=invoice)
    Invoice.objects.filter(pk=invoice.pk, pdf__isnull=True).update(pdf=built)


def note_pdf(*, note: CreditNote) -> bytes:
    """Return the credit note as PDF: the stored bytes, or those of the draft as it stands."""
    if note.pdf is not None:
        return bytes(note.pdf)
    return pdf_build(
        template="credit_note.typ",
        data=note_data(note=note),
        timestamp=note.issued_at or note.created_at,
    )


def note_pdf_store(*, note: CreditNote) -> None:
    """Keep the document of an issued note; a second run finds it there."""
    built = note_pdf(note=note)
    CreditNote.objects.filter(pk=note.pk, pdf__isnull=True).update(pdf=built)


def pdf_build(*, template: str, data: dict[str, Any], timestamp: datetime) -> bytes:
    """Typeset the data. No system font, no network, the time given: a pure function.

    Text that the archive standards do not admit (a script that the bundled fonts lack, a control
    character) makes a plain PDF, with boxes for it: an invoice is never without its document.
    """
    try:
        return _compiled(template, data, timestamp, archival=True)
    except typst.TypstError:
        return _compiled(template, data, timestamp, archival=False)


def _compiled(
    template: str, data: dict[str, Any], timestamp: datetime, *, archival: bool
) -> bytes:
    built: bytes = typst.compile(
        str(settings.BASE_DIR.joinpath(TEMPLATES, template)),
        root=str(settings.BASE_DIR.joinpath("templates")),
        format="pdf",
        ignore_system_fonts=True,
        sys_inputs={"data": json.dumps(data, sort_keys=True)},
        pdf_standards=["a-3a", "ua-1"] if archival else [],
        timestamp=timestamp.replace(microsecond=0),
    )
    return built


def document_data(*, invoice: Invoice) -> dict[str, Any]:
    """Gather what the template prints; text only, so that typesetting decides nothing."""
    version = invoice.plan_version
    number = invoice.number or f"Draft {invoice.pk}"
    lines = list(invoice.lines.all())
    return {
        "title": f"Invoice {number}",
        "heading": f"Invoice {number}" if invoice.number else "Draft invoice",
        "seller": _seller(),
        "customer": _customer(invoice.organization),
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


def _customer(organization: Organization) -> dict[str, Any]:
    return {
        "name": organization.name,
        "address": _lines_of_text(organization.address) + _maybe(organization.country),
        "tax_id": organization.tax_id,
    }


def note_data(*, note: CreditNote) -> dict[str, Any]:
    """Gather what a credit note prints; text only."""
    invoice, number = note.invoice, note.number or f"Draft {note.pk}"
    currency = invoice.currency
    return {
        "title": f"Credit note {number}",
        "heading": f"Credit note {number}" if note.number else "Draft credit note",
        "seller": _seller(),
        "customer": _customer(invoice.organization),
        "facts": [
            ["Corrects", f"Invoice {invoice}"],
            ["Service period (UTC)", _span(invoice.service_from, invoice.service_to)],
            ["Reason", f"{note.get_reason_code_display()}: {note.reason}"],
            *([["Issued", f"{note.issued_at:%Y-%m-%d}"]] if note.issued_at else []),
        ],
        "currency": currency,
        "lines": [
            [line.description or line.line_key, amount_text(line.amount_minor, currency)]
            for line in note.lines.order_by("pk")
        ]
        or [["Goodwill credit", amount_text(note.subtotal_minor, currency)]],
        "totals": [
            [label, amount_text(minor, currency)]
            for label, minor in (
                ("Subtotal", note.subtotal_minor),
                ("Back to prepaid credit", -note.credit_minor),
                (f"Tax ({invoice.tax_rate_percent} %)", note.tax_minor),
                ("Given back before as goodwill", -note.absorbed_minor),
            )
            if minor or label == "Subtotal"
        ],
        "total": amount_text(note.total_minor, currency),
        "settlement": _settlement_text(note),
        "content_hash": note.content_hash,
    }


def _settlement_text(note: CreditNote) -> str:
    back = (
        "refunded to the card it was paid with"
        if note.settlement == NoteSettlement.REFUND
        else "kept as a balance that the next invoices use up"
    )
    return f"What is not paid of invoice {note.invoice} is lowered first; what was paid is {back}."


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
    formula = [_formula_text(row) for row in line.formula]
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


def _formula_text(row: dict[str, str]) -> str:
    text = row["label"]
    if row.get("quantity"):
        text += f": {row['quantity']}"
    if row.get("rate"):
        text += (
            f" \N{MULTIPLICATION SIGN} {row['rate']}"
            if row.get("quantity")
            else f": {row['rate']}"
        )
    return f"{text} = {row['amount']}" if row.get("amount") else text


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
    rows = evidence_list(lines)
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
