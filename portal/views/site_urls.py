"""URLs of the site itself."""

from django.urls import URLPattern, URLResolver, path

from portal.views import site

urlpatterns: list[URLPattern | URLResolver] = [
    path("theme", site.theme_set, name="theme_set"),
    path("styleguide", site.styleguide, name="styleguide"),
    path("livez", site.livez, name="livez"),
    path("readyz", site.readyz, name="readyz"),
]
