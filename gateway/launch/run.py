"""Run a plan's processes: start them, say when requests are answered, reload on SIGHUP, stop in order."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import psutil
from django.conf import settings

from gateway.launch import parts
from gateway.launch.bootstrap import Prepared
from gateway.launch.parts import Parts, Plan
from gateway.launch.supervisor import Supervisor
from gateway.launch.welcome import secrets_lines, welcome_lines

MAX_FAILED_STARTS = 3
"""A server that ends so often before it ever answered will not answer."""
RELOAD_SECONDS = 120.0
"""How long the servers of a new generation may take to be ready."""
HANGUP_SECONDS = 0.2
"""Until the kernel has taken a closed terminal away from us."""


async def run(plan: Plan, prepared: Prepared, tell: Callable[[str], None]) -> int:
    """Supervise until a signal. The exit code: 0 after an orderly stop, 1 where the server never answered.

    `tell` gets what a person should read: the addresses, and what was made and is shown this once.
    """
    supervisor = Supervisor()
    stop, reload = asyncio.Event(), asyncio.Event()
    _on_signals(supervisor, stop, reload)
    planned = await asyncio.to_thread(parts.of_installation, plan)
    for part in [*planned.servers, *planned.simulator]:
        supervisor.start(part)
    answered, gave_up = await _first_answer(supervisor, plan, planned, stop)
    if answered:
        for part in planned.background:
            supervisor.start(part)
        lines = await asyncio.to_thread(welcome_lines, prepared, plan, time.time() - psutil.Process().create_time())
    else:
        # Their only chance to be seen.
        lines = secrets_lines(prepared, plan.gateway_url)
    with suppress(BrokenPipeError):
        tell("\n".join(lines))
    if answered:
        await _reload_until(stop, reload, supervisor, planned)
    # New connections are refused once the servers close theirs too; those that they have may end.
    for listener in _listeners(plan):
        listener.close()
    await supervisor.stop()
    return 1 if gave_up else 0


def _on_signals(supervisor: Supervisor, stop: asyncio.Event, reload: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    had_terminal = _has_terminal()

    def end() -> None:
        if stop.is_set():
            supervisor.hasten()
        else:
            supervisor.say("up", "stopping: running requests may end first; Ctrl-C again to hasten")
            stop.set()

    def hang_up() -> None:
        """SIGHUP: somebody asks for a reload, or the terminal that we were started from was closed."""
        if had_terminal and not _has_terminal():
            end()
        else:
            reload.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end)
    loop.add_signal_handler(signal.SIGHUP, lambda: loop.call_later(HANGUP_SECONDS, hang_up))


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


async def _first_answer(supervisor: Supervisor, plan: Plan, planned: Parts, stop: asyncio.Event) -> tuple[bool, bool]:
    """(answers, hopeless); neither where a signal came before."""
    listeners = _listeners(plan)
    if not listeners:
        return not stop.is_set(), False
    ready: asyncio.Future[list[None]] = asyncio.gather(*(parts.answers(listener) for listener in listeners))
    hopeless = asyncio.create_task(_never_answers(supervisor, planned.servers[0].name))
    stopped = asyncio.create_task(stop.wait())
    waiting: set[asyncio.Future[Any]] = {ready, hopeless, stopped}
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    found = ready.done(), hopeless.done()
    for one in waiting:
        one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    return found


def _listeners(plan: Plan) -> list[socket.socket]:
    return [*plan.listeners, *([plan.web_listener] if plan.web_listener is not None else [])]


async def _never_answers(supervisor: Supervisor, server: str) -> None:
    """Returns once the server ended so often that there is no hope."""
    while supervisor.failures(server) < MAX_FAILED_STARTS:
        await supervisor.ended(server)
    supervisor.say("up", f"the server ended {MAX_FAILED_STARTS} times before it answered; its last lines say why")


async def _reload_until(stop: asyncio.Event, reload: asyncio.Event, supervisor: Supervisor, planned: Parts) -> None:
    """Serve reloads one after the other until the stop, which also ends one that is under way."""
    while not stop.is_set():
        stopped, asked = asyncio.create_task(stop.wait()), asyncio.create_task(reload.wait())
        await asyncio.wait({stopped, asked}, return_when=asyncio.FIRST_COMPLETED)
        if not stop.is_set():
            reload.clear()
            reloading = asyncio.create_task(_reload(supervisor, planned))
            await asyncio.wait({stopped, reloading}, return_when=asyncio.FIRST_COMPLETED)
            reloading.cancel()
            with suppress(asyncio.CancelledError):
                await reloading
        stopped.cancel()
        asked.cancel()


async def _reload(supervisor: Supervisor, planned: Parts) -> None:
    """Put a new generation of servers in the place of the running ones, without a moment in which none answers."""
    supervisor.say("up", "reloading: new servers start beside the running ones")
    environ = next(part.environ for part in [*planned.servers, *planned.background])
    why = await _bootstrap(environ)
    if why:
        for line in why.splitlines():
            supervisor.say("up", line)
    if why or not await supervisor.replace(planned.servers, RELOAD_SECONDS):
        supervisor.say("up", "the reload failed: what ran before goes on; the lines above say why")
        return
    for part in planned.background:
        await supervisor.restart(part)
    supervisor.say("up", "reloaded")


async def _bootstrap(environ: Mapping[str, str]) -> str:
    """Migrate with the code and the settings that are on the disk now; what went wrong, or nothing."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "manage.py",
        "bootstrap",
        cwd=settings.BASE_DIR,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **environ},
    )
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    return said.decode(errors="replace")[-4000:].strip() if process.returncode else ""
