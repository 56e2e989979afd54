"""Addresses of the log under /api/v1/."""

from __future__ import annotations

from django.urls import path
from rest_framework.routers import SimpleRouter

from observability.api.dry_run import RouteDryRun
from observability.api.exports import Exports
from observability.api.reconciliation import Days, Exceptions, Imports, Locks
from observability.api.repricing import Repricings
from observability.api.requests import Requests

router = SimpleRouter()
router.register("requests", Requests, basename="request")
router.register("exports", Exports, basename="export")
router.register("repricings", Repricings, basename="repricing")
router.register("reconciliation-days", Days, basename="reconciliation-day")
router.register("reconciliation-exceptions", Exceptions, basename="reconciliation-exception")
router.register("report-imports", Imports, basename="report-import")
router.register("month-locks", Locks, basename="month-lock")

urlpatterns = [*router.urls, path("routes/dry-run/", RouteDryRun.as_view(), name="route-dry-run")]
