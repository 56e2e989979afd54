"""Addresses of the log under /api/v1/."""

from __future__ import annotations

from rest_framework.routers import SimpleRouter

from observability.api.exports import Exports
from observability.api.requests import Requests

router = SimpleRouter()
router.register("requests", Requests, basename="request")
router.register("exports", Exports, basename="export")

urlpatterns = router.urls
