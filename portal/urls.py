"""The URL map; money pages are mounted from billing by name."""

from django.urls import URLPattern, URLResolver

urlpatterns: list[URLPattern | URLResolver] = []
