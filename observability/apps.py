"""The observability app: request rows, the live log, dashboards, exports and metrics."""

from django.apps import AppConfig


class ObservabilityConfig(AppConfig):
    name = "observability"
    verbose_name = "Observability"
