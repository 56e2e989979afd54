"""Start the parts of the product as child processes, restart what ends, stop all in order, leave no orphan."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TextIO

_Say = Callable[[str, str], None]

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
STABLE_SECONDS = 60.0
"""A part that ran for so long starts again after the first, short pause."""
HASTE_SECONDS = 3.0
"""How long a part may take to end after a second stop signal."""


@dataclass(frozen=True, slots=True)
class Part:
    """One child process: `python -m module args`.

    Parts stop stage by stage, lowest first, all of one stage at once; each has `patience` seconds to end by itself.
    """

    name: str
    module: str
    args: Sequence[str] = ()
    stage: int = 0
    patience: float = 10.0
    pass_fds: Sequence[int] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    on_end: Callable[[int], None] | None = None
    """Called with the id of each process of this part that ended, before the next one starts."""
    announces: bool = False
    """Takes `--ready-fd`, a pipe to which it writes a byte once it does its work."""


class Supervisor:
    """Runs parts until `stop`. Every method belongs to one event loop."""

    def __init__(self, output: TextIO = sys.stderr) -> None:
        self._output = output
        self._children: dict[str, _Child] = {}
        self._beside: set[_Child] = set()
        """Of another generation: on trial, or on their way out."""
        self._haste = asyncio.Event()
        # Never written to and never closed while we live: its end of file tells the children that we are gone.
        self._lifeline, self._held = os.pipe()

    def start(self, part: Part) -> None:
        child = _Child(part, self._lifeline, self._haste, self.say)
        self._children[part.name] = child
        child.begin()

    async def replace(self, parts: Sequence[Part], patience: float) -> bool:
        """Start each part beside the one of its name and, once all are ready, stop the old ones.

        False, with the old ones running on, where a new one ends or is not ready within `patience` seconds. Returns
        when the old ones are gone.
        """
        fresh = [_Child(part, self._lifeline, self._haste, self.say) for part in parts]
        self._beside.update(fresh)
        for child in fresh:
            child.begin()
        if not await _all_ready(fresh, patience):
            await self._dismiss(fresh)
            return False
        old = [self._children[child.part.name] for child in fresh]
        self._children.update({child.part.name: child for child in fresh})
        self._beside.difference_update(fresh)
        await self._dismiss(old)
        return True

    async def restart(self, part: Part) -> None:
        """Stop the part of this name, then start this one: for what must not run twice."""
        await self._children[part.name].stop()
        self.start(part)

    async def _dismiss(self, children: Sequence[_Child]) -> None:
        self._beside.update(children)
        await asyncio.gather(*(child.stop() for child in children))
        self._beside.difference_update(children)

    def failures(self, name: str) -> int:
        """How often the part ended by itself since it last ran stably."""
        return self._children[name].failures

    def pid(self, name: str) -> int | None:
        return self._children[name].pid

    async def ended(self, name: str) -> None:
        """Wait until the part ends by itself once more."""
        await self._children[name].ended()

    async def stop(self) -> None:
        """Stop every part, stage by stage; returns when none is left."""
        everyone = [*self._children.values(), *self._beside]
        for stage in sorted({child.part.stage for child in everyone}):
            await asyncio.gather(*(child.stop() for child in everyone if child.part.stage == stage))
        self._children.clear()
        self._beside.clear()

    def hasten(self) -> None:
        """Give what is still running a few seconds and no more."""
        self._haste.set()

    def say(self, name: str, line: str) -> None:
        try:
            print(f"{name:>9} | {line}", file=self._output, flush=True)
        except (BrokenPipeError, ValueError):
            # Our terminal is gone; the parts go on.
            self._output = open(os.devnull, "w")  # noqa: SIM115


class _Child:
    def __init__(self, part: Part, lifeline: int, haste: asyncio.Event, say: _Say) -> None:
        self.part = part
        self.failures = 0
        self._lifeline = lifeline
        self._haste = haste
        self._say = say
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self._end = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._stop: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()

    @property
    def pid(self) -> int | None:
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if self._process and running else None

    def begin(self) -> None:
        self._task = asyncio.create_task(self._keep(), name=self.part.name)

    async def ended(self) -> None:
        self._end.clear()
        await self._end.wait()

    async def ready_or_ended(self) -> bool:
        """Wait until it announced that it is ready: True; or ended before: False."""
        await _first(self._ready.wait(), self._end.wait())
        return self._ready.is_set() and not self._end.is_set()

    async def _keep(self) -> None:
        """Run the part, and again after each end, until it is stopped."""
        while not self._stopping.is_set():
            started = time.monotonic()
            self._process = await self._spawn()
            if self._stopping.is_set():
                self._signal(signal.SIGTERM)
            await self._relay(self._process)
            code = await self._process.wait()
            if self.part.on_end is not None:
                self.part.on_end(self._process.pid)
            if self._stopping.is_set():
                return
            self.failures = 1 if time.monotonic() - started >= STABLE_SECONDS else self.failures + 1
            pause = min(FIRST_PAUSE * 2 ** (self.failures - 1), LONGEST_PAUSE)
            self._say(self.part.name, f"ended with {_reason(code)}; starts again in {pause:g} s")
            self._end.set()
            await _first(self._stopping.wait(), asyncio.sleep(pause))

    async def stop(self) -> None:
        """Stop it and wait for its end. A second call waits for the first: another signal would mean haste."""
        if self._stop is None:
            self._stop = asyncio.create_task(self._end_it())
        await asyncio.shield(self._stop)

    async def _end_it(self) -> None:
        self._stopping.set()
        self._signal(signal.SIGTERM)
        if self._task is None:
            return
        ended = asyncio.shield(self._task)
        await _first(ended, self._haste.wait(), asyncio.sleep(self.part.patience))
        if not self._task.done() and self._haste.is_set():
            # uvicorn ends at once on SIGINT after SIGTERM.
            self._signal(signal.SIGINT)
            await _first(asyncio.shield(self._task), asyncio.sleep(HASTE_SECONDS))
        if not self._task.done():
            self._say(self.part.name, "did not end in time and is killed")
            self._signal(signal.SIGKILL)
        await self._task

    async def _spawn(self) -> asyncio.subprocess.Process:
        part = self.part
        grace = str(part.patience)
        command = [sys.executable, "-P", "-m", "gateway.launch.lifeline", str(self._lifeline), grace, part.module]
        if part.announces:
            heard, told = os.pipe()
            try:
                process = await self._execute([*command, *part.args, "--ready-fd", str(told)], told)
            finally:
                os.close(told)
            self._listen(heard)
            return process
        return await self._execute([*command, *part.args])

    def _listen(self, heard: int) -> None:
        """Note the byte that says "ready"; the end of the pipe without one says nothing."""
        loop = asyncio.get_running_loop()

        def hear() -> None:
            loop.remove_reader(heard)
            if os.read(heard, 1):
                self._ready.set()
            os.close(heard)

        self._ready.clear()
        loop.add_reader(heard, hear)

    async def _execute(self, command: Sequence[str], *fds: int) -> asyncio.subprocess.Process:
        part = self.part
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **part.environ, "PYTHONUNBUFFERED": "1"},
            pass_fds=[self._lifeline, *part.pass_fds, *fds],
            # A group of its own: Ctrl-C in the terminal reaches `up` alone, which then stops the parts in order.
            start_new_session=True,
        )

    async def _relay(self, process: asyncio.subprocess.Process) -> None:
        """Print what the part prints, line by line, however long a line is."""
        assert process.stdout is not None  # noqa: S101  (a pipe was asked for)
        rest = b""
        while chunk := await process.stdout.read(65536):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._say(self.part.name, line.decode(errors="replace").rstrip())
        if rest:
            self._say(self.part.name, rest.decode(errors="replace").rstrip())

    def _signal(self, number: signal.Signals) -> None:
        if self.pid is not None:
            # The group: whatever the part itself started goes with it.
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:
                return


async def _all_ready(children: Sequence[_Child], patience: float) -> bool:
    try:
        async with asyncio.timeout(patience):
            return all(await asyncio.gather(*(child.ready_or_ended() for child in children)))
    except TimeoutError:
        return False


async def _first(*waits: Awaitable[object]) -> None:
    """Wait for the first of several; the others are cancelled."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _reason(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    return f"signal {signal.Signals(-code).name}"
