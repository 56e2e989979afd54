"""The gateway app: settings, ASGI, the data plane and the commands that run the product."""

from django.apps import AppConfig


class GatewayConfig(AppConfig):
    name = "gateway"
    verbose_name = "Gateway"

    def ready(self) -> None:
        # Checks register themselves; the server queues tasks in, and asks after, the same broker as the worker.
        from gateway import celery, checks  # noqa: F401
        from gateway.price_names import priced_as
        from observability.dryrun import use_names

        use_names(priced_as)
