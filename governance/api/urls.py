"""Addresses of governance under /api/v1/."""

from __future__ import annotations

from django.urls import path
from rest_framework.routers import SimpleRouter

from governance.api.alerts import Alerts, Channels, Deliveries
from governance.api.audit import Audit
from governance.api.keys import Keys
from governance.api.limits import Budgets, RateLimits
from governance.api.price_rules import Aliases, Overrides
from governance.api.prices import Prices, Proposals
from governance.api.processes import Processes
from governance.api.providers import Credentials, Providers
from governance.api.raises import Raises
from governance.api.routes import Routes
from governance.api.tenants import Customers, Developers, Projects, Teams

router = SimpleRouter()
router.register("customers", Customers, basename="customer")
router.register("teams", Teams, basename="team")
router.register("projects", Projects, basename="project")
router.register("developers", Developers, basename="developer")
router.register("keys", Keys, basename="key")
router.register("budgets", Budgets, basename="budget")
router.register("rate-limits", RateLimits, basename="rate-limit")
router.register("providers", Providers, basename="provider")
router.register("routes", Routes, basename="route")
router.register("prices", Prices, basename="price")
router.register("price-proposals", Proposals, basename="price-proposal")
router.register("price-overrides", Overrides, basename="price-override")
router.register("model-aliases", Aliases, basename="model-alias")
router.register("alert-channels", Channels, basename="alert-channel")
router.register("alerts", Alerts, basename="alert")
router.register("alert-deliveries", Deliveries, basename="alert-delivery")
router.register("raises", Raises, basename="raise")
router.register("processes", Processes, basename="process")
router.register("audit", Audit, basename="audit")

urlpatterns = [
    *router.urls,
    path(
        "providers/<int:provider_id>/credentials/",
        Credentials.as_view({"get": "list", "post": "create"}),
        name="credential-list",
    ),
    path(
        "providers/<int:provider_id>/credentials/<uuid:pk>/",
        Credentials.as_view({"get": "retrieve", "patch": "partial_update"}),
        name="credential-detail",
    ),
]
