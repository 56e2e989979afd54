"""The supervisor with small programs for parts: restart, order of stopping, haste, no orphan."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from gateway.launch import supervisor as module
from gateway.launch.supervisor import Part, Supervisor


class Output(io.StringIO):
    """Tells who waits that something was printed."""

    def __init__(self) -> None:
        super().__init__()
        self.printed = asyncio.Event()

    def write(self, text: str) -> int:
        self.printed.set()
        return super().write(text)


class Parts:
    """A supervisor whose parts are modules written for the test; `said` is everything that they print."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = Output()
        self.supervisor = Supervisor(self.output)

    @property
    def said(self) -> list[str]:
        return [line.strip() for line in self.output.getvalue().splitlines()]

    def start(self, name: str, program: str, *, stage: int = 0, patience: float = 20) -> None:
        (self.folder / f"part_{name}.py").write_text(textwrap.dedent(program))
        path = os.pathsep.join([str(self.folder), *filter(None, sys.path)])
        self.supervisor.start(Part(name, f"part_{name}", stage=stage, patience=patience, environ={"PYTHONPATH": path}))

    async def wait(self, line: str, times: int = 1) -> None:
        async with asyncio.timeout(60):
            while self.said.count(line) < times:
                self.output.printed.clear()
                await self.output.printed.wait()


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    made = Parts(tmp_path)
    yield made
    made.supervisor.hasten()
    await made.supervisor.stop()


WAITS = """
import signal, sys, time
def end(*_):
    print("ends"); sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("runs")
while True:
    time.sleep(0.05)
"""
DEAF = """
import signal, time
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda *_: print("hears nothing"))
print("runs")
while True:
    time.sleep(0.05)
"""


async def test_output_is_prefixed_line_by_line_however_long(parts: Parts) -> None:
    parts.start("a", 'print("x" * 300_000); print("ü", end=""); import time; time.sleep(600)')
    await parts.wait("a | " + "x" * 300_000)


async def test_a_part_that_ends_starts_again_later_and_later(parts: Parts) -> None:
    parts.start("a", "raise SystemExit(3)")
    await parts.wait("a | ended with exit code 3; starts again in 0.5 s")
    await parts.wait("a | ended with exit code 3; starts again in 1 s")
    assert parts.supervisor.failures("a") == 2


async def test_a_killed_part_starts_again(parts: Parts) -> None:
    parts.start("a", WAITS)
    await parts.wait("a | runs")
    pid = parts.supervisor.pid("a")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await parts.wait("a | runs", 2)
    assert "a | ended with signal SIGKILL; starts again in 0.5 s" in parts.said
    assert parts.supervisor.pid("a") != pid


async def test_after_a_stable_run_the_pause_is_short_again(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STABLE_SECONDS", 0.0)
    parts.start("a", "raise SystemExit(3)")
    await parts.wait("a | ended with exit code 3; starts again in 0.5 s", 3)


async def test_stages_stop_in_order(parts: Parts) -> None:
    for name, stage in (("last", 2), ("first", 0), ("also", 0), ("then", 1)):
        parts.start(name, WAITS, stage=stage)
    for name in ("last", "first", "also", "then"):
        await parts.wait(f"{name} | runs")

    await parts.supervisor.stop()

    ends = [line.split(" | ")[0] for line in parts.said if line.endswith("| ends")]
    assert set(ends[:2]) == {"first", "also"}
    assert ends[2:] == ["then", "last"]


async def test_a_deaf_part_is_killed_when_its_patience_ends(parts: Parts) -> None:
    parts.start("a", DEAF, patience=0.5)
    await parts.wait("a | runs")
    pid = parts.supervisor.pid("a")

    await parts.supervisor.stop()

    assert "a | did not end in time and is killed" in parts.said
    assert not psutil.pid_exists(pid or 0)


async def test_haste_shortens_every_patience(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HASTE_SECONDS", 0.2)
    parts.start("a", DEAF, patience=600)
    await parts.wait("a | runs")
    stopping = asyncio.create_task(parts.supervisor.stop())
    await parts.wait("a | hears nothing")

    parts.supervisor.hasten()

    async with asyncio.timeout(30):
        await stopping


async def test_a_part_that_is_about_to_restart_stops_at_once(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 600.0)
    monkeypatch.setattr(module, "LONGEST_PAUSE", 600.0)
    parts.start("a", "raise SystemExit(3)")
    await parts.wait("a | ended with exit code 3; starts again in 600 s")
    async with asyncio.timeout(30):
        await parts.supervisor.stop()


def test_parts_end_when_their_supervisor_is_killed(tmp_path: Path) -> None:
    (tmp_path / "polite.py").write_text(WAITS)
    (tmp_path / "deaf.py").write_text(DEAF)
    program = """
    import asyncio, sys
    from gateway.launch.supervisor import Part, Supervisor
    async def main():
        supervisor = Supervisor(sys.stdout)
        supervisor.start(Part("polite", "polite"))
        supervisor.start(Part("deaf", "deaf", patience=0.5))
        await asyncio.sleep(600)
    asyncio.run(main())
    """
    with _python(textwrap.dedent(program), tmp_path) as killed:
        assert killed.stdout is not None
        lines = {killed.stdout.readline().strip() for _ in range(2)}
        assert lines == {"polite | runs", "deaf | runs"}
        children = psutil.Process(killed.pid).children()
        assert len(children) == 2
        killed.kill()

    gone, alive = psutil.wait_procs(children, timeout=30)

    assert (len(gone), alive) == (2, [])


def _python(program: str, folder: Path) -> psutil.Popen:
    path = os.pathsep.join([str(folder), *filter(None, sys.path), os.getcwd()])
    return psutil.Popen([sys.executable, "-c", program], stdout=-1, text=True, env={**os.environ, "PYTHONPATH": path})


READY = """
import os, signal, sys, time
def end(*_):
    print("ends"); sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("runs", sys.argv[1])
os.write(int(sys.argv[sys.argv.index("--ready-fd") + 1]), b"1")
while True:
    time.sleep(0.05)
"""


def _generation(parts: Parts, name: str, generation: str, program: str = READY, ended: list[int] | None = None) -> Part:
    """A part that announces itself; a later generation of it may be another program."""
    module = f"part_{name}_{generation}"
    (parts.folder / f"{module}.py").write_text(textwrap.dedent(program))
    path = os.pathsep.join([str(parts.folder), *filter(None, sys.path)])
    on_end = ended.append if ended is not None else None
    return Part(name, module, [generation], environ={"PYTHONPATH": path}, announces=True, on_end=on_end)


def _running(parts: Parts) -> list[psutil.Process]:
    """The children of this test: other tests of the same process have theirs."""
    return [
        child for child in psutil.Process().children() if str(parts.folder) in child.environ().get("PYTHONPATH", "")
    ]


async def test_a_new_generation_takes_the_place_of_the_old_one(parts: Parts) -> None:
    ended: list[int] = []
    for name in ("a", "b"):
        parts.supervisor.start(_generation(parts, name, "one", ended=ended))
        await parts.wait(f"{name} | runs one")
    old = {parts.supervisor.pid("a"), parts.supervisor.pid("b")}

    assert await parts.supervisor.replace([_generation(parts, name, "two") for name in ("a", "b")], 60)

    said = parts.said
    assert said.index("a | runs two") < said.index("a | ends")
    assert said.index("b | runs two") < said.index("a | ends")
    assert set(ended) == old
    assert parts.supervisor.pid("a") not in old
    assert not any(psutil.pid_exists(pid or 0) for pid in old)


@pytest.mark.parametrize(
    ("program", "patience"), [("raise SystemExit(3)", 60.0), (WAITS, 1.0)], ids=["it ends", "it is never ready"]
)
async def test_a_generation_that_fails_leaves_the_old_one(parts: Parts, program: str, patience: float) -> None:
    for name in ("a", "b"):
        parts.supervisor.start(_generation(parts, name, "one"))
        await parts.wait(f"{name} | runs one")
    old = parts.supervisor.pid("a"), parts.supervisor.pid("b")

    failing = [_generation(parts, "a", "two"), _generation(parts, "b", "two", program)]
    assert not await parts.supervisor.replace(failing, patience)

    assert (parts.supervisor.pid("a"), parts.supervisor.pid("b")) == old
    # What was started of the new generation is gone again.
    assert len(_running(parts)) == 2


async def test_a_stop_during_a_replacement_ends_both_generations(parts: Parts) -> None:
    parts.supervisor.start(_generation(parts, "a", "one"))
    await parts.wait("a | runs one")
    replacing = asyncio.create_task(parts.supervisor.replace([_generation(parts, "a", "two", WAITS)], 600))
    await parts.wait("a | runs")

    replacing.cancel()
    await parts.supervisor.stop()

    assert parts.said.count("a | ends") == 2
    assert _running(parts) == []


async def test_what_must_not_run_twice_stops_before_it_starts(parts: Parts) -> None:
    parts.supervisor.start(_generation(parts, "a", "one"))
    await parts.wait("a | runs one")

    await parts.supervisor.restart(_generation(parts, "a", "two"))

    await parts.wait("a | runs two")
    assert parts.said.index("a | ends") < parts.said.index("a | runs two")
