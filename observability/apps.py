"""The observability app: request rows, the live log, dashboards, exports and metrics."""

from django.apps import AppConfig


class ObservabilityConfig(AppConfig):
    name = "observability"
    verbose_name = "Observability"

    def ready(self) -> None:
        from governance.selectors_prices import use_log
        from observability.selectors.unpriced import LOG

        use_log(LOG)
