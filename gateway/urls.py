"""Paths of everything that Django serves; the data plane under /anthropic is routed in `asgi.py`."""

from django.contrib import admin
from django.urls import include, path

from observability.admin.live import live_log

urlpatterns = [
    path("admin/live/", admin.site.admin_view(live_log), name="live_log"),
    path("admin/", admin.site.urls),
    path("api/", include("gateway.api_urls")),
    path("", include("observability.urls")),
]
