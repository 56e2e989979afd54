"""The ASGI application of each role: the data plane beside Django, under Channels' protocol router."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway.settings")
django = get_asgi_application()

# Django must be set up before anything that touches models is imported.
from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.layers import InMemoryChannelLayer, get_channel_layer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from channels.security.websocket import AllowedHostsOriginValidator  # noqa: E402

from gateway import line, runtime  # noqa: E402
from gateway.line.asgi import Receive, Scope, Send, serve  # noqa: E402
from gateway.probes import PROBES  # noqa: E402
from gateway.roles import Role, is_for_both, not_for_clients, not_for_people  # noqa: E402
from gateway.surfaces import SURFACES  # noqa: E402
from observability import live  # noqa: E402
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


async def nothing_to_start(scope: Scope, receive: Receive, send: Send) -> None:
    """The web role has no data plane: no leases, no recorder, no spool, no connection to a provider."""
    while True:
        match (await receive())["type"]:
            case "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            case "lifespan.shutdown":
                await send({"type": "lifespan.shutdown.complete"})
                return


async def http(scope: Scope, receive: Receive, send: Send) -> None:
    """Django; and the data plane where the server did not take its request by itself, as `line.direct` does."""
    surface = line.find(scope["path"])
    if surface is not None:
        await serve(surface, scope, receive, send)
    elif (probe := PROBES.get(scope["path"])) is not None:
        await probe(scope, receive, send)
    else:
        await django(scope, receive, send)


async def http_without_people(scope: Scope, receive: Receive, send: Send) -> None:
    """The same, with of Django only what monitors ask."""
    if line.find(scope["path"]) is not None or is_for_both(scope["path"]):
        await http(scope, receive, send)
    else:
        await not_for_people(scope, receive, send)


_websocket = AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(websocket_urlpatterns)))


def application_of(role: Role) -> ProtocolTypeRouter:
    """The application of a server process of this role; its data plane becomes the process's own."""
    for prefix, surface in SURFACES.items():
        line.register(prefix, surface if role.serves_data_plane else not_for_clients)
    match role:
        case Role.ALL:
            return ProtocolTypeRouter({"http": http, "websocket": _websocket, "lifespan": lifespan})
        case Role.GATEWAY:
            return ProtocolTypeRouter({"http": http_without_people, "websocket": not_for_people, "lifespan": lifespan})
        case Role.WEB:
            live.broadcaster.cut_off = isinstance(get_channel_layer(), InMemoryChannelLayer)
            return ProtocolTypeRouter({"http": http, "websocket": _websocket, "lifespan": nothing_to_start})
        case Role.WORKER:
            raise ValueError("A worker serves nothing over HTTP.")


application = application_of(Role.ALL)
"""What Daphne serves in development."""
