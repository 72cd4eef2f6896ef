"""Form fields in templates: which kind of widget, and its help and error tied to it."""

from django import forms, template
from django.forms import BoundField
from django.utils.safestring import SafeString

register = template.Library()
_GROUPS = (forms.RadioSelect, forms.CheckboxSelectMultiple)


@register.filter
def widget_kind(field: BoundField) -> str:
    """Return `check`, `group` (radio buttons, several boxes) or `plain`."""
    widget = field.field.widget
    if isinstance(widget, _GROUPS):
        return "group"
    return "check" if isinstance(widget, forms.CheckboxInput) else "plain"


@register.filter
def described(field: BoundField) -> SafeString:
    """Render the widget, `aria-describedby` naming the help and error that follow it."""
    ids = [
        f"{field.auto_id}_{part}"
        for part, present in (("help", field.help_text), ("error", field.errors))
        if present
    ]
    attrs: dict[str, str | bool] = {}
    if ids:
        attrs["aria-describedby"] = " ".join(ids)
    if field.errors:
        attrs["aria-invalid"] = "true"
    return field.as_widget(attrs=attrs)
