"""The live log's page; its rows come over `/ws/logs/`."""

from __future__ import annotations

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.urls import reverse

from observability import live
from observability.admin.requests import filter_options
from observability.consumers import PERMISSION
from observability.filters import BadFilter, LogFilter
from observability.selectors.reporting import reporting_zone


def live_log(request: HttpRequest) -> TemplateResponse:
    """`/admin/live/`. Wrap it in `admin.site.admin_view`."""
    if not request.user.has_perm(PERMISSION):
        raise PermissionDenied
    try:
        chosen = LogFilter.parse(request.GET)
    except BadFilter:
        chosen = LogFilter()
    detail = reverse("admin:observability_request_change", args=["0"])
    context = {
        **admin.site.each_context(request),
        "title": "Live log",
        "is_fullwidth": "1",
        "options": filter_options(request.user),
        "chosen": chosen,
        "zone": reporting_zone(request.user),
        "cut_off": live.broadcaster.cut_off,
        "settings": {
            "socket": "/ws/logs/",
            "detail": detail,
            "zone": reporting_zone(request.user).key,
        },
    }
    request.current_app = admin.site.name
    return TemplateResponse(request, "admin/observability/live.html", context)
