"""Addresses of the log under /api/v1/."""

from __future__ import annotations

from rest_framework.routers import SimpleRouter

from observability.api.requests import Requests

router = SimpleRouter()
router.register("requests", Requests, basename="request")

urlpatterns = router.urls
