"""URLs of the developer's pages."""

from django.http import HttpResponse
from django.urls import URLPattern, URLResolver, path

urlpatterns: list[URLPattern | URLResolver] = [
    path("start", lambda r: HttpResponse(""), name="start")
]
