"""The load client and the mock provider: small C programs, compiled when the bench starts, and what they report."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.functional.product import ROOT

SOURCES = Path(__file__).parent / "native"
PROGRAMS = {"load": ("load.c", "request.c", "answer.c"), "mock": ("mock.c",)}
BUILD = ROOT / "build" / "bench"
SAMPLE_SECONDS = 0.2


class NoCompiler(Exception):
    """There is no C compiler, or it does not take the programs; the message says what to do."""


def compiler() -> str | None:
    """The C compiler: CC where that is set, else the first of the usual names."""
    return next(filter(None, map(shutil.which, filter(None, (os.environ.get("CC"), "cc", "gcc", "clang")))), None)


def build() -> dict[str, Path]:
    """The programs by name, compiled where a source is newer. Raises NoCompiler."""
    found = compiler()
    if found is None:
        raise NoCompiler("The benchmark needs a C compiler (Debian and Ubuntu: apt-get install gcc libc6-dev).")
    BUILD.mkdir(parents=True, exist_ok=True)
    return {name: _compiled(found, name, [SOURCES / source for source in PROGRAMS[name]]) for name in PROGRAMS}


def _compiled(found: str, name: str, sources: list[Path]) -> Path:
    program = BUILD / name
    newest = max(path.stat().st_mtime for path in SOURCES.iterdir())
    if not program.exists() or program.stat().st_mtime < newest:
        # Two runs may compile at once: each into a file of its own, and the last one in place wins.
        fresh = BUILD / f"{name}.{os.getpid()}"
        done = subprocess.run(
            [found, "-O2", "-Wall", "-Wextra", "-o", str(fresh), *map(str, sources)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise NoCompiler(f"{found} does not compile the benchmark's {name}:\n{done.stderr}")
        fresh.replace(program)
    return program


class Mock:
    """A mock provider on a port of its own."""

    def __init__(self, program: Path) -> None:
        self.process = subprocess.Popen([str(program)], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline().split()[-1])

    @property
    def pid(self) -> int:
        return self.process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(10)
        if self.process.stdout is not None:
            self.process.stdout.close()


@dataclass(frozen=True)
class Job:
    """One stretch of load. `rate` makes it an open loop; `streams` sends one request on each connection."""

    connections: int
    seconds: float = 0.0
    rate: float = 0.0
    streams: bool = False
    ramp: float = 0.0
    patience: float = 60.0
    failures: int = 100
    """More failures than these end the stretch."""

    @property
    def flags(self) -> list[str]:
        values = {"connections": self.connections, "patience": self.patience, "failures": self.failures}
        if self.streams:
            values["ramp"] = self.ramp
        else:
            values |= {"seconds": self.seconds, "rate": self.rate}
        return ["--streams"] * self.streams + [f"--{name}={value}" for name, value in values.items()]


@dataclass
class Answers:
    """What the load client saw. Times are in microseconds, one of each for every answer that counts."""

    requests: int
    failed: int
    failures: dict[str, int]
    seconds: float
    cpu_seconds: float
    peak_streams: int
    odd_status: int
    body_bytes: tuple[int, int]
    first: array[int] = field(default_factory=lambda: array("I"))
    total: array[int] = field(default_factory=lambda: array("I"))


def load(
    program: Path,
    folder: Path,
    port: int,
    head: bytes,
    body: bytes,
    secrets: list[str],
    job: Job,
    sample: Callable[[], Any] | None = None,
) -> Answers:
    """Run the load client to its end; `sample` is called several times a second meanwhile."""
    files = {"head": head, "body": body, "secrets": "\n".join(secrets).encode(), "output": b""}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    command = [str(program), f"--port={port}", *(f"--{name}={folder / name}" for name in files), *job.flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    limit = time.monotonic() + job.seconds + job.ramp + job.patience + 30
    while process.poll() is None and sample is not None and time.monotonic() < limit:
        sample()
        time.sleep(SAMPLE_SECONDS)
    try:
        output, errors = process.communicate(timeout=max(1.0, limit - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        output, errors = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"The load client ended with {process.returncode}: {errors.strip()}")
    told = json.loads(output)
    times = array("I", (folder / "output").read_bytes())
    return Answers(**{**told, "body_bytes": tuple(told["body_bytes"])}, first=times[0::2], total=times[1::2])
