"""Where a server and its writer count together: a folder for each server, gone with it or with the next one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CODE = """
import os, sys
from gateway import counting
counting.share()
print(os.environ[counting.VARIABLE], flush=True)
sys.stdin.readline()
"""


def start(folder: Path, **environ: str) -> tuple[subprocess.Popen[str], Path]:
    """A process that shares its counts, and its folder."""
    kept = {name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"}
    process = subprocess.Popen(
        [sys.executable, "-c", CODE],
        env={**kept, "TMPDIR": str(folder), **environ},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def end(process: subprocess.Popen[str]) -> None:
    process.communicate("\n", timeout=20)


def test_the_folder_goes_with_its_process(tmp_path: Path) -> None:
    process, folder = start(tmp_path)
    assert folder.is_dir()
    assert folder.stat().st_mode & 0o777 == 0o700
    end(process)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_goes_with_the_next_and_a_living_ones_stays(tmp_path: Path) -> None:
    alive, kept = start(tmp_path)
    killed, left = start(tmp_path)
    killed.kill()
    killed.communicate(timeout=20)
    assert left.is_dir()
    following, own = start(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([kept, own])
    end(following)
    end(alive)


def test_a_folder_that_is_given_is_left_alone(tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    process, folder = start(tmp_path, PROMETHEUS_MULTIPROC_DIR=str(given))
    assert folder == given
    end(process)
    assert given.is_dir()
