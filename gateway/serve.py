"""Serve the ASGI application with uvicorn: `python -m gateway.serve --host 0.0.0.0 --port 8000`.

One place for the server's options, whether `up` starts it (with a socket that it holds open across restarts) or a
container does.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys

import uvicorn

from gateway.env import SettingsError
from gateway.line.direct import Front

BACKLOG = 2048
KEEP_ALIVE_SECONDS = 75
"""Longer than the idle time of common load balancers, so that they and not we close an idle connection."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m gateway.serve", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--fd", type=int, help="An inherited listening socket instead of host and port.")
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway.settings")
    try:
        drain_seconds = _drain_seconds()
        listener = listen(options.host, options.port) if options.fd is None else socket.socket(fileno=options.fd)
    except SettingsError as error:
        sys.exit(f"Comptroller cannot start:\n{error}")
    except OSError as error:
        sys.exit(f"Cannot listen on {options.host} port {options.port}: {error.strerror}.")
    config = uvicorn.Config(
        "gateway.asgi:application",
        loop="uvloop",
        http=Front,
        ws="websockets-sansio",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        # Whose X-Forwarded-For is believed is the gateway's own decision (COMPTROLLER_TRUSTED_PROXIES).
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=drain_seconds,
    )
    uvicorn.Server(config).run(sockets=[listener])


def _drain_seconds() -> int:
    from django.conf import settings

    seconds: int = settings.COMPTROLLER["COMPTROLLER_DRAIN_SECONDS"]
    return seconds


if __name__ == "__main__":
    main()
