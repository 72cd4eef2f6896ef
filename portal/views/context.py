"""What every page's shell needs."""

from django.http import HttpRequest


def shell(request: HttpRequest) -> dict[str, object]:
    """Give templates the theme from its cookie (`system` unless set)."""
    theme = request.COOKIES.get("theme", "system")
    return {"theme": theme if theme in {"light", "dark", "system"} else "system"}
