"""WebSocket paths, wired in `gateway/asgi.py` behind the session, user and origin checks."""

from django.urls import path

from observability.consumers import LogConsumer

websocket_urlpatterns = [path("ws/logs/", LogConsumer.as_asgi())]
