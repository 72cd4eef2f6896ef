"""Forms of the provider's pages: they only turn fields into values and problems into errors.

What may be written is said once, in `portal.core.catalog_input`; the services refuse, and
`portal.forms.problems` puts each refusal at the field that it names.
"""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from portal.core.catalog_input import MAX_DAYS, MAX_THRESHOLD_MINOR, METHODS
from portal.core.money import EXPONENTS, minor_to_major
from portal.forms.amounts import minor_of
from portal.models import Api, Meter, Organization, Plan, PlanVersion, Route, Upstream
from portal.services.catalog import BUILT_IN_METER


def _area(rows: int) -> forms.Textarea:
    return forms.Textarea(attrs={"rows": rows, "class": "mono", "spellcheck": "false"})


def _figure(mode: str) -> forms.TextInput:
    return forms.TextInput(attrs={"inputmode": mode, "autocomplete": "off"})


class LinesField(forms.CharField):
    """One entry a line; several words of a line stay together."""

    def __init__(self, *, rows: int = 3, **kwargs: Any) -> None:
        super().__init__(widget=_area(rows), **kwargs)

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value)
        return [line.strip() for line in (text or "").splitlines() if line.strip()]

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list | tuple) else value


class WordsField(forms.CharField):
    """Words between spaces, commas or line ends."""

    def to_python(self, value: Any) -> Any:
        return (super().to_python(value) or "").replace(",", " ").split()

    def prepare_value(self, value: Any) -> Any:
        return " ".join(value) if isinstance(value, list | tuple) else value


class PairsField(LinesField):
    """One `name number` a line, read as a mapping; the number may be left out."""

    def __init__(self, *, missing: int, **kwargs: Any) -> None:
        self.missing = missing
        super().__init__(**kwargs)

    def to_python(self, value: Any) -> Any:
        pairs: dict[str, int] = {}
        for line in super().to_python(value):
            name, _space, number = line.partition(" ")
            number = number.strip()
            if number and not (number.isascii() and number.isdigit() and len(number) < 16):
                msg = _("Write a name and a whole number on each line.")
                raise forms.ValidationError(msg, code="not_a_pair")
            pairs[name] = int(number) if number else self.missing
        return pairs

    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return "\n".join(f"{name} {number}" for name, number in value.items())
        return value


class ApiForm(forms.Form):
    name = forms.CharField(label=_("Name"), max_length=120)
    slug = forms.CharField(
        label=_("Short name"),
        max_length=60,
        help_text=_("In addresses, events and reports: a-z, 0-9 and -."),
    )
    description = forms.CharField(
        label=_("Description"), required=False, widget=forms.Textarea(attrs={"rows": 3})
    )
    sample_path = forms.CharField(
        label=_("Sample path"),
        required=False,
        help_text=_("What the first-call page tries, like /v1/status."),
    )
    is_published = forms.BooleanField(
        label=_("Published: customers see it, and test keys may call it"), required=False
    )

    @classmethod
    def of(cls, api: Api, data: Any = None) -> "ApiForm":
        return cls(data, initial={name: getattr(api, name) for name in cls.base_fields})


class UpstreamForm(forms.Form):
    name = forms.CharField(label=_("Short name"), max_length=60)
    targets = PairsField(
        label=_("Targets"),
        missing=1,
        help_text=_("One http(s)://host:port a line, with a weight if there are several."),
    )
    base_path = forms.CharField(
        label=_("Base path"), required=False, help_text=_("Put in front of every path, like /v2.")
    )
    host_header = forms.CharField(
        label=_("Host header"), required=False, help_text=_("Empty: the target's own.")
    )
    connect_timeout_ms = forms.IntegerField(label=_("Connect timeout, ms"), initial=2_000)
    send_timeout_ms = forms.IntegerField(label=_("Send timeout, ms"), initial=30_000)
    read_timeout_ms = forms.IntegerField(label=_("Read timeout, ms"), initial=30_000)
    retries = forms.IntegerField(
        label=_("Retries"),
        initial=1,
        help_text=_("After a failed connection, for methods that may be repeated."),
    )

    @classmethod
    def of(cls, upstream: Upstream, data: Any = None) -> "UpstreamForm":
        return cls(data, initial={name: getattr(upstream, name) for name in cls.base_fields})


class MeterForm(forms.Form):
    slug = forms.CharField(
        label=_("Short name"), max_length=60, help_text=_("Usage is kept under it: it stays.")
    )
    name = forms.CharField(label=_("Name"), max_length=120)
    unit = forms.CharField(label=_("Unit"), max_length=40, initial="request")

    @classmethod
    def of(cls, meter: Meter, data: Any = None) -> "MeterForm":
        form = cls(data, initial={name: getattr(meter, name) for name in cls.base_fields})
        form.fields["slug"].disabled = True
        return form


class RouteForm(forms.Form):
    name = forms.CharField(label=_("Short name"), max_length=60)
    path = forms.CharField(
        label=_("Path"),
        help_text=_("Exact (/status), a template (/maps/{id}) or a prefix (/maps/*)."),
    )
    methods = forms.MultipleChoiceField(
        label=_("Methods (none = all)"),
        required=False,
        choices=[(method, method) for method in METHODS],
        widget=forms.CheckboxSelectMultiple,
    )
    upstream = forms.ModelChoiceField(
        label=_("Upstream"), queryset=Upstream.objects.all(), empty_label=_("Choose an upstream")
    )
    strip_prefix = forms.CharField(
        label=_("Strip prefix"),
        required=False,
        help_text=_("Taken off the path before the upstream sees it."),
    )
    units = PairsField(
        label=_("Units of one call"),
        missing=1,
        required=False,
        rows=2,
        help_text=_("One meter and number a line. Empty: 1 request."),
    )
    is_public = forms.BooleanField(
        label=_("Public: no key is asked for, nothing is billed"), required=False
    )
    query_key = forms.BooleanField(
        label=_("Also take the key from the query (?apikey=), which leaks into logs"),
        required=False,
    )
    scopes = WordsField(
        label=_("Required scopes"),
        required=False,
        help_text=_(
            "Like orders:read, with spaces or commas between. A key must hold all of them: keys "
            "that lack one get 403 at once. Empty: none is required."
        ),
    )
    hosts = LinesField(
        label=_("Hosts"), required=False, rows=2, help_text=_("One a line. Empty: every host.")
    )
    priority = forms.IntegerField(
        label=_("Priority"), initial=0, help_text=_("The higher one wins over every other rule.")
    )
    max_body_bytes = forms.IntegerField(label=_("Largest body, bytes"), initial=10_485_760)
    read_timeout_ms = forms.IntegerField(
        label=_("Read timeout, ms"), initial=0, help_text=_("0: the upstream's.")
    )
    description = forms.CharField(label=_("Description"), required=False, max_length=300)

    @classmethod
    def of(cls, route: Route, data: Any = None) -> "RouteForm":
        return cls(data, initial={name: getattr(route, name) for name in cls.base_fields})


class OpenApiForm(forms.Form):
    upstream = forms.ModelChoiceField(
        label=_("Upstream"), queryset=Upstream.objects.all(), empty_label=_("Choose an upstream")
    )
    path_prefix = forms.CharField(
        label=_("Path prefix"),
        required=False,
        help_text=_("Put in front of every path at the gateway, like /maps."),
    )
    file = forms.FileField(label=_("OpenAPI file (3.0 or 3.1)"), required=False)
    text = forms.CharField(label=_("Or its text"), required=False, widget=_area(12))

    @property
    def document_field(self) -> str:
        return "file" if self.files else "text"

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        if values.get("file"):
            try:
                values["text"] = values["file"].read().decode()
            except UnicodeDecodeError as error:
                msg = _("The file is not text.")
                raise forms.ValidationError(msg, code="not_text") from error
        if not values.get("text"):
            msg = _("Choose a file or paste the text.")
            raise forms.ValidationError(msg, code="required")
        return values


class PlanForm(forms.Form):
    name = forms.CharField(label=_("Name"), max_length=120)
    slug = forms.CharField(label=_("Short name"), max_length=60)
    description = forms.CharField(label=_("Description"), required=False, max_length=300)
    apis = forms.ModelMultipleChoiceField(
        label=_("APIs it covers"),
        queryset=Api.objects.order_by("name"),
        required=False,
        widget=forms.CheckboxSelectMultiple,
    )
    rank = forms.IntegerField(
        label=_("Rank"), initial=0, help_text=_("A plan with a higher rank is an upgrade.")
    )
    is_public = forms.BooleanField(label=_("On the pricing page"), required=False, initial=True)

    @classmethod
    def of(cls, plan: Plan, data: Any = None) -> "PlanForm":
        initial = {n: getattr(plan, n) for n in cls.base_fields if n != "apis"}
        return cls(data, initial={**initial, "apis": plan.apis.all()})

    def values(self) -> dict[str, Any]:
        return {name: value for name, value in self.cleaned_data.items() if name != "apis"}


class VersionForm(forms.Form):
    """What a plan version says besides its terms and limits; the threshold in major units."""

    currency = forms.ChoiceField(label=_("Currency"), choices=[(c, c) for c in sorted(EXPONENTS)])
    trial_days = forms.IntegerField(
        label=_("Trial, days"), min_value=0, max_value=MAX_DAYS, widget=_figure("numeric")
    )
    past_due_grace_days = forms.IntegerField(
        label=_("Grace, days"),
        min_value=0,
        max_value=MAX_DAYS,
        help_text=_("After a failed payment."),
        widget=_figure("numeric"),
    )
    threshold = forms.CharField(
        label=_("Invoice usage at"),
        required=False,
        max_length=20,
        help_text=_(
            "Unbilled usage that reaches this amount is invoiced at once. Empty: with the period."
        ),
        widget=_figure("decimal"),
    )
    note = forms.CharField(label=_("Note"), required=False, max_length=300)

    @classmethod
    def of(cls, version: PlanVersion, post: Mapping[str, Any] | None = None) -> "VersionForm":
        """Show a version; of what is posted, a field that is absent stays as it is stored."""
        held: dict[str, Any] = {
            name: getattr(version, name) for name in cls.base_fields if name != "threshold"
        }
        minor = version.threshold_minor
        held["threshold"] = "" if minor is None else minor_to_major(minor, version.currency)
        form = cls(None if post is None else held | dict(post.items()), initial=held)
        if version.published_at is not None:
            for name, field in form.fields.items():
                field.widget.attrs["disabled" if name == "currency" else "readonly"] = True
        return form

    def clean(self) -> dict[str, Any]:
        """Turn the threshold into minor units of the currency that was chosen with it."""
        found = self.cleaned_data
        if "currency" not in found or "threshold" not in found:
            return found
        try:
            minor = minor_of(found["threshold"], found["currency"])
        except forms.ValidationError as error:
            self.add_error("threshold", error)
            return found
        if minor > MAX_THRESHOLD_MINOR:
            self.add_error("threshold", _("This is too much."))
        found["threshold_minor"] = minor or None
        return found

    def values(self) -> dict[str, Any]:
        return {name: value for name, value in self.cleaned_data.items() if name != "threshold"}


class _VersionChoice(forms.ModelChoiceField):  # type: ignore[type-arg]
    def label_from_instance(self, obj: Any) -> str:
        return f"{obj.plan.name} · {_('version')} {obj.number} · {obj.currency}"


def offered_versions() -> Any:
    """Return the published versions of plans that are on offer, the newest of a plan first."""
    return (
        PlanVersion.objects.filter(published_at__isnull=False, plan__archived_at__isnull=True)
        .select_related("plan")
        .order_by("plan__rank", "plan__slug", "-number")
    )


class SubscribeForm(forms.Form):
    version = _VersionChoice(
        label=_("Plan version"),
        queryset=PlanVersion.objects.none(),
        empty_label=_("Choose a version"),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["version"]
        assert isinstance(field, forms.ModelChoiceField)  # noqa: S101 - for the type checker
        field.queryset = offered_versions()


class ChangeForm(SubscribeForm):
    when = forms.ChoiceField(
        label=_("When"),
        choices=[
            ("rule", _("An upgrade now, anything else at the end of the period")),
            ("now", _("As soon as every gateway knows (2 s)")),
            ("period_end", _("At the end of the period")),
        ],
        widget=forms.RadioSelect,
        initial="rule",
    )
    carry_over = forms.BooleanField(
        label=_("Usage of this period counts on"), required=False, initial=True
    )


class ReasonForm(forms.Form):
    reason = forms.CharField(
        label=_("Reason"), max_length=300, help_text=_("Kept in the audit log.")
    )


class ClockForm(forms.Form):
    """One step forward: by a length, or to an instant."""

    by = forms.ChoiceField(
        label=_("Move by"),
        required=False,
        choices=[
            ("", _("Choose a length")),
            ("3600", _("1 hour")),
            ("86400", _("1 day")),
            ("604800", _("1 week")),
            ("2678400", _("31 days")),
        ],
    )
    to = forms.DateTimeField(
        label=_("Or to an instant, UTC"),
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}),
    )

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        if bool(values.get("by")) == bool(values.get("to")):
            msg = _("Choose a length or an instant, one of them.")
            raise forms.ValidationError(msg, code="one_of")
        return values


class CustomerSearchForm(forms.Form):
    q = forms.CharField(
        label=_("Search"),
        required=False,
        help_text=_("Name, mail address, key prefix or last 4, or any id."),
    )


class AuditFilterForm(forms.Form):
    action = forms.CharField(label=_("Action begins with"), required=False, max_length=80)
    actor = forms.CharField(label=_("By"), required=False, max_length=160)
    target = forms.CharField(label=_("Target"), required=False, max_length=80)
    organization = forms.ModelChoiceField(
        label=_("Organization"),
        required=False,
        queryset=Organization.objects.order_by("name"),
        empty_label=_("Every organization"),
    )


def meter_choices() -> list[tuple[str, str]]:
    """Return the meters that prices and quotas may name."""
    rows = dict(Meter.objects.order_by("slug").values_list("slug", "name"))
    return list({BUILT_IN_METER: str(_("Requests")), **rows}.items())
