"""Start the product: migrate, make what a first start needs, then run and watch its processes."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import sys
import time
from argparse import ArgumentParser
from contextlib import suppress
from typing import Any

import psutil
from django.conf import settings
from django.core.checks import run_checks
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, connections

from gateway import serve
from gateway.launch import parts
from gateway.launch.bootstrap import Prepared, prepare
from gateway.launch.instance import AlreadyRunning, claim
from gateway.launch.supervisor import Supervisor
from gateway.launch.welcome import secrets_lines, welcome_lines

MAX_FAILED_STARTS = 3
"""A server that ends so often before it ever answered will not answer."""


class Command(BaseCommand):
    help = "Start the gateway, its admin and its background tasks, and keep them running until Ctrl-C."
    # `up` runs the checks itself, where it can print them as sentences.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="Address to listen on (default: %(default)s).")
        parser.add_argument("--port", type=int, default=8000, help="Port; 0 takes a free one (default: %(default)s).")
        parser.add_argument("--workers", type=int, default=1, help="Server processes (default: %(default)s).")

    def handle(self, *args: Any, host: str, port: int, workers: int, **options: Any) -> None:
        _refuse_workers(workers)
        listener = _listen(host, port)
        public_url = settings.COMPTROLLER["COMPTROLLER_PUBLIC_URL"] or _local_url(listener)
        try:
            with claim(settings.DATA_DIR, public_url):
                try:
                    prepared = prepare()
                except OperationalError as error:
                    raise CommandError(f"The database does not answer: {str(error).strip()}", returncode=2) from None
                for message in run_checks(tags=["comptroller"]):
                    self.stderr.write(f"{message.msg} {message.hint or ''}".rstrip())
                connections.close_all()
                code = asyncio.run(_run(self, listener, workers, public_url, prepared))
        except AlreadyRunning as error:
            raise CommandError(str(error), returncode=2) from None
        sys.exit(code)


async def _run(command: Command, listener: socket.socket, workers: int, public_url: str, prepared: Prepared) -> int:
    """Supervise until a signal. The exit code: 0 after an orderly stop, 1 where the server never answered."""
    supervisor = Supervisor()
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            supervisor.hasten()
        else:
            supervisor.say("up", "stopping: running requests may end first; Ctrl-C again to hasten")
            stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, on_signal)

    front, background = await asyncio.to_thread(parts.of_installation, listener, workers, public_url)
    for part in front:
        supervisor.start(part)
    ready = asyncio.create_task(parts.answers(listener))
    hopeless = asyncio.create_task(_never_answers(supervisor, front[0].name))
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({ready, hopeless, stopped}, return_when=asyncio.FIRST_COMPLETED)
    answered, gave_up = ready.done(), hopeless.done()
    ready.cancel()
    hopeless.cancel()
    if answered:
        for part in background:
            supervisor.start(part)
        lines = await asyncio.to_thread(
            welcome_lines, prepared, public_url, time.time() - psutil.Process().create_time()
        )
    else:
        # Their only chance to be seen.
        lines = secrets_lines(prepared, public_url)
    with suppress(BrokenPipeError):
        command.stdout.write("\n".join(lines))
        command.stdout.flush()
    if answered:
        await stopped
    stopped.cancel()
    # New connections are refused from here on; those that the server has may end.
    listener.close()
    await supervisor.stop()
    return 1 if gave_up else 0


async def _never_answers(supervisor: Supervisor, server: str) -> None:
    """Returns once the server ended so often that there is no hope."""
    while supervisor.failures(server) < MAX_FAILED_STARTS:
        await supervisor.ended(server)
    supervisor.say("up", f"the server ended {MAX_FAILED_STARTS} times before it answered; its last lines say why")


def _refuse_workers(workers: int) -> None:
    if not 1 <= workers <= 64:
        raise CommandError(f"--workers must lie between 1 and 64, not {workers}.", returncode=2)
    if workers > 1 and not settings.COMPTROLLER["REDIS_URL"]:
        raise CommandError(
            f"--workers {workers} needs REDIS_URL: without it the live log is kept in one process's memory, and a "
            "page would show only the requests of the process that happens to serve it.",
            returncode=2,
        )


def _listen(host: str, port: int) -> socket.socket:
    """The listening socket. `up` holds it, so that connections wait, and are not refused, while a server restarts."""
    try:
        return serve.listen(host, port)
    except OverflowError:
        raise CommandError(f"--port must lie between 0 and 65535, not {port}.", returncode=2) from None
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
