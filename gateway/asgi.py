"""The ASGI application: the data plane beside Django, under Channels' routers."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway.settings")
django = get_asgi_application()

# Django must be set up before anything that touches models is imported.
from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from channels.security.websocket import AllowedHostsOriginValidator  # noqa: E402

from gateway import line, runtime  # noqa: E402
from gateway.anthropic import PREFIX, anthropic  # noqa: E402
from gateway.line.asgi import Receive, Scope, Send, serve  # noqa: E402
from observability.routing import websocket_urlpatterns  # noqa: E402


async def lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    """Start the data plane with the server and stop it after the last request."""
    while True:
        match (await receive())["type"]:
            case "lifespan.startup":
                await runtime.start()
                await send({"type": "lifespan.startup.complete"})
            case "lifespan.shutdown":
                await runtime.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return


async def http(scope: Scope, receive: Receive, send: Send) -> None:
    """Django; and the data plane where the server did not take its request by itself, as `line.direct` does."""
    surface = line.find(scope["path"])
    if surface is not None:
        await serve(surface, scope, receive, send)
    else:
        await django(scope, receive, send)


line.register(PREFIX, anthropic)


application = ProtocolTypeRouter(
    {
        "http": http,
        "websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(websocket_urlpatterns))),
        "lifespan": lifespan,
    }
)
