"""The management API: its resources, its OpenAPI schema and its docs page."""

from __future__ import annotations

from django.http import HttpRequest, JsonResponse
from django.urls import include, path, re_path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView


def nothing_here(request: HttpRequest) -> JsonResponse:
    """A wrong address answers like the rest of the API, not with a page."""
    hint = "See /api/docs/." if request.path.endswith("/") else "Addresses of the API end with a slash."
    return JsonResponse({"detail": f"There is nothing at {request.path}. {hint}"}, status=404)


urlpatterns = [
    path("v1/", include("governance.api.urls")),
    path("v1/", include("observability.api.urls")),
    path("schema/", SpectacularAPIView.as_view(), name="api-schema"),
    # The split view keeps its script in a file of its own, which a content security policy can allow.
    path("docs/", SpectacularSwaggerSplitView.as_view(url_name="api-schema"), name="api-docs"),
    re_path(r"", nothing_here),
]
