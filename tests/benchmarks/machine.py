"""The machine under the benchmark: which core does what, what a process tree costs, and what it all ran on."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil


@dataclass(frozen=True)
class Cores:
    """What is measured runs on `proxy` alone; the mock, the load client and the bench itself on `load`."""

    proxy: int
    load: int
    writer: int | None = None
    """Where the gateway's child processes run; None: with their parent."""
    spread: tuple[int, ...] = ()
    """Where several workers run, one on each core; the core of mock and load client comes last."""

    @classmethod
    def chosen(cls, writer: int | None = None) -> Cores:
        """The first two cores that this process may use; the same one twice where it has but one."""
        usable = sorted(os.sched_getaffinity(0))
        proxy, load = usable[0], usable[min(1, len(usable) - 1)]
        return cls(proxy, load, writer, tuple(dict.fromkeys([*(core for core in usable if core != load), load])))


def pin(pids: Iterable[int], core: int) -> None:
    """Tie processes to a core with all threads that they have; later ones inherit it. What has ended is let be."""
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, NotADirectoryError):
            for task in os.listdir(f"/proc/{pid}/task"):
                with contextlib.suppress(ProcessLookupError):
                    os.sched_setaffinity(int(task), {core})


@dataclass(frozen=True)
class Cost:
    """What processes used up to a moment: CPU seconds (user and system), bytes of memory, file descriptors."""

    main: float = 0.0
    children: float = 0.0
    resident: int = 0
    files: int = 0


def children_of(roots: Iterable[int]) -> list[int]:
    found: list[int] = []
    for pid in roots:
        with contextlib.suppress(psutil.NoSuchProcess):
            found += [child.pid for child in psutil.Process(pid).children(recursive=True)]
    return found


def cost(roots: Iterable[int]) -> Cost:
    """The cost of these processes, and of those that they started apart from them."""
    main, resident, files = 0.0, 0, 0
    for pid in roots:
        process = psutil.Process(pid)
        times = process.cpu_times()
        # What ended meanwhile was a child of theirs and is counted with them.
        main += seconds(pid) + times.children_user + times.children_system
        resident += process.memory_info().rss
        files += process.num_fds()
    children = 0.0
    for pid in children_of(roots):
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            process = psutil.Process(pid)
            children += seconds(pid)
            resident += process.memory_info().rss
            files += process.num_fds()
    return Cost(main, children, resident, files)


def seconds(pid: int) -> float:
    """CPU seconds of a process and all its threads, to the nanosecond. Raises ProcessLookupError."""
    try:
        # How Linux numbers the CPU clock of a process; /proc counts in hundredths of a second.
        return time.clock_gettime(~pid << 3 | 2)
    except OSError as error:
        raise ProcessLookupError(f"no process {pid}") from error


def described(nginx: str | None) -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "system": _system(),
        "python": platform.python_version(),
        "uvicorn": version("uvicorn"),
        "uvloop": version("uvloop"),
        "nginx": _first_line([nginx, "-v"]).rpartition("/")[2] if nginx else None,
        "load_average_before": [round(value, 2) for value in os.getloadavg()],
        "command": " ".join(sys.argv[1:]),
    }


def _cpu_model() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _system() -> str:
    with contextlib.suppress(OSError):
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    return platform.system()


def _first_line(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip().partition("\n")[0]
