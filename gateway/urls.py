"""Paths of everything that Django serves; the data plane under /anthropic is routed in `asgi.py`."""

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, JsonResponse
from django.urls import include, path, re_path
from django.views.decorators.csrf import csrf_exempt
from django.views.generic import RedirectView

from gateway.provider_check import provider_test
from gateway.rule_bench import rule_bench
from governance.admin.pickers import Picker
from governance.admin.providers import TEST_URL
from governance.admin.unpriced import unpriced
from observability.admin.dry_run import rule_dry_run
from observability.admin.live import live_log


@csrf_exempt
def without_prefix(request: HttpRequest) -> JsonResponse:
    """A client whose address lacks the prefix. Not a 404: Claude Code would blame the model for that."""
    message = (
        f"The address of this gateway ends with /anthropic. Set ANTHROPIC_BASE_URL={settings.GATEWAY_URL}/anthropic"
    )
    return JsonResponse(
        {"type": "error", "error": {"type": "invalid_request_error", "message": message}},
        status=400,
        headers={"x-should-retry": "false"},
    )


urlpatterns = [
    # "Return to site" of the login page and whoever types the bare address look here.
    path("", RedirectView.as_view(pattern_name="admin:index")),
    re_path(r"^v1/(?:messages|models)(?:/.*)?$", without_prefix),
    path("admin/live/", admin.site.admin_view(live_log), name="live_log"),
    path("admin/providers/<int:pk>/test/", admin.site.admin_view(provider_test), name=TEST_URL),
    path("admin/unpriced/", admin.site.admin_view(unpriced), name="unpriced_models"),
    path("admin/routing/bench/", admin.site.admin_view(rule_bench), name="rule_bench"),
    path("admin/routing/dry-run/", admin.site.admin_view(rule_dry_run), name="rule_dry_run"),
    path("admin/autocomplete/", admin.site.admin_view(Picker.as_view(admin_site=admin.site))),
    path("admin/", admin.site.urls),
    path("me/", include("gateway.me.urls")),
    path("api/", include("gateway.api_urls")),
    path("", include("observability.urls")),
]
