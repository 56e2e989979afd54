"""Start the product: migrate, make what a first start needs, then run and watch its processes."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.checks import run_checks
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, connections

from gateway import descriptors, serve
from gateway.launch.advice import when_apart
from gateway.launch.bootstrap import prepare
from gateway.launch.instance import AlreadyRunning, claim, running_url
from gateway.launch.parts import Plan
from gateway.launch.run import run
from gateway.roles import Role


class Command(BaseCommand):
    help = (
        "Start the gateway, its admin and its background tasks, and keep them running until Ctrl-C. "
        "SIGHUP starts new servers in the place of the running ones, without refusing a request."
    )
    # `up` runs the checks itself, where it can print them as sentences.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="Address to listen on (default: %(default)s).")
        parser.add_argument("--port", type=int, default=8000, help="Port; 0 takes a free one (default: %(default)s).")
        parser.add_argument("--workers", type=int, default=1, help="Server processes (default: %(default)s).")
        parser.add_argument(
            "--role",
            choices=[role.value for role in Role],
            default=Role.ALL.value,
            help="Run only the model calls (gateway), the admin and API (web) or the background tasks (worker).",
        )
        parser.add_argument(
            "--web-port",
            type=int,
            help="Serve the admin and the API in a process of their own on this port; --port then takes model calls.",
        )
        parser.add_argument(
            "--no-beat",
            action="store_true",
            help="Leave the schedule to another worker: one is enough in an installation.",
        )

    def handle(
        self,
        *args: Any,
        host: str,
        port: int,
        workers: int,
        role: str,
        web_port: int | None,
        no_beat: bool,
        **options: Any,
    ) -> None:
        chosen = Role(role)
        _refuse(chosen, workers, port, web_port)
        # The servers inherit it.
        descriptors.raise_limit()
        plan = _plan(chosen, host, port, web_port, workers, beat=not no_beat)
        try:
            with claim(settings.DATA_DIR, chosen, gateway_url=plan.gateway_url, public_url=plan.public_url):
                try:
                    prepared = prepare()
                except OperationalError as error:
                    raise CommandError(f"The database does not answer: {str(error).strip()}", returncode=2) from None
                for message in run_checks(tags=["comptroller"]):
                    self.stderr.write(f"{message.msg} {message.hint or ''}".rstrip())
                for sentence in when_apart(chosen, separate_web=web_port is not None):
                    self.stderr.write(sentence)
                connections.close_all()
                code = asyncio.run(run(plan, prepared, self._tell))
        except AlreadyRunning as error:
            raise CommandError(str(error), returncode=2) from None
        sys.exit(code)

    def _tell(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()


def _plan(role: Role, host: str, port: int, web_port: int | None, workers: int, *, beat: bool) -> Plan:
    """The listening sockets and the two addresses. Roles that share a data folder find each other's in its locks."""
    listeners = _listen(host, port, "--port", workers) if role.serves_http else []
    web_listener = _listen(host, web_port, "--web-port")[0] if web_port is not None else None
    given = settings.COMPTROLLER
    public_url, gateway_url = given["COMPTROLLER_PUBLIC_URL"], given["COMPTROLLER_GATEWAY_URL"]
    own = _local_url(listeners[0]) if listeners else ""
    if web_listener is not None:
        gateway_url = gateway_url or public_url or own
        public_url = public_url or _local_url(web_listener)
    elif role is Role.ALL:
        public_url = public_url or own
    elif role is Role.GATEWAY:
        gateway_url = gateway_url or public_url or own
        public_url = public_url or running_url(settings.DATA_DIR, Role.WEB) or own
    else:
        public_url = public_url or own or running_url(settings.DATA_DIR, Role.WEB) or settings.PUBLIC_URL
        gateway_url = gateway_url or given["COMPTROLLER_PUBLIC_URL"] or running_url(settings.DATA_DIR) or public_url
    return Plan(
        role=role,
        public_url=public_url,
        gateway_url=gateway_url or public_url,
        listeners=listeners,
        workers=workers,
        web_listener=web_listener,
        beat=beat,
    )


def _refuse(role: Role, workers: int, port: int, web_port: int | None) -> None:
    if not 1 <= workers <= 64:
        raise CommandError(f"--workers must lie between 1 and 64, not {workers}.", returncode=2)
    if role is Role.WORKER and workers > 1:
        raise CommandError("--workers counts server processes: --role worker has none.", returncode=2)
    if web_port is not None and role is not Role.ALL:
        raise CommandError(f"--web-port is for --role all: --role {role} has one port, --port.", returncode=2)
    if web_port is not None and web_port == port and port:
        raise CommandError(f"--port and --web-port both name {port}: give the admin another one.", returncode=2)
    if workers > 1 and role.serves_people and web_port is None and not settings.COMPTROLLER["REDIS_URL"]:
        raise CommandError(
            f"--workers {workers} needs REDIS_URL: without it the live log is kept in one process's memory, and a "
            "page would show only the requests of the process that happens to serve it.",
            returncode=2,
        )


def _listen(host: str, port: int, option: str, count: int = 1) -> list[socket.socket]:
    """Listening sockets. `up` holds them, so that connections wait, and are not refused, while a server restarts."""
    try:
        return serve.listen_together(host, port, count)
    except OverflowError:
        raise CommandError(f"{option} must lie between 0 and 65535, not {port}.", returncode=2) from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            sentence = (
                f"Port {port} on {host} is in use. Stop what listens there, or choose another: make run PORT={port + 1}"
            )
        else:
            sentence = f"Cannot listen on {host} port {port}: {os.strerror(error.errno) if error.errno else error}."
        raise CommandError(sentence, returncode=2) from None


def _local_url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    if host in {"0.0.0.0", "::"}:  # noqa: S104  (compared, not bound)
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
