"""Paths of everything that Django serves; the data plane under /anthropic is routed in `asgi.py`."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/", include("gateway.api_urls")),
    path("", include("observability.urls")),
]
