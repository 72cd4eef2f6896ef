"""What finance types: the amounts of a credit note, in major units, checked into minor ones."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

from billing.models import Invoice, InvoiceLine, NoteReason, NoteSettlement
from portal.core.money import minor_to_major
from portal.forms.amounts import minor_of


class CreditNoteForm(forms.Form):
    """A correction by line, or goodwill as one amount; which of the two is what is typed."""

    goodwill = forms.CharField(
        label=_("Goodwill, tax included"),
        required=False,
        max_length=20,
        help_text=_("A gift outside the arithmetic of the period; leave the lines empty."),
        widget=forms.TextInput(attrs={"inputmode": "decimal"}),
    )
    reason_code = forms.ChoiceField(label=_("Why"), choices=NoteReason.choices)
    reason = forms.CharField(label=_("In words, for the customer"), max_length=300)
    settlement = forms.ChoiceField(
        label=_("What was paid already goes to"),
        choices=NoteSettlement.choices,
        help_text=_("What is not paid yet is lowered first, whatever is chosen here."),
    )

    def __init__(
        self,
        *args: Any,
        invoice: Invoice,
        lines: list[InvoiceLine],
        left: Mapping[str, int],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.invoice = invoice
        self.line_fields: dict[str, str] = {}
        for line in lines:
            if left.get(line.line_key, 0) <= 0:
                continue
            name = f"line-{line.pk}"
            most = format(minor_to_major(left[line.line_key], invoice.currency), "f")
            self.line_fields[name] = line.line_key
            self.fields[name] = forms.CharField(
                label=capfirst(line.description),
                required=False,
                max_length=20,
                help_text=_("Up to %(most)s %(currency)s")
                % {"most": most, "currency": invoice.currency},
                widget=forms.TextInput(attrs={"inputmode": "decimal"}),
            )

    @property
    def correction_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in self.line_fields]

    @property
    def other_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in self.fields if name not in self.line_fields]

    def clean(self) -> dict[str, Any]:
        """Turn what was typed into `lines` and `goodwill_minor`."""
        data: dict[str, Any] = super().clean() or {}
        amounts: dict[str, int] = {}
        for name in (*self.line_fields, "goodwill"):
            try:
                amounts[name] = minor_of(str(data.get(name, "")), self.invoice.currency)
            except forms.ValidationError as error:
                self.add_error(name, error)
        goodwill = amounts.pop("goodwill", 0)
        lines = {self.line_fields[name]: minor for name, minor in amounts.items() if minor}
        if not self.errors and bool(lines) == bool(goodwill):
            self.add_error(None, _("Give either amounts of lines, or goodwill."))
        return data | {"lines": lines, "goodwill_minor": goodwill}
