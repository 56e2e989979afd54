"""The data plane of one process: its snapshot, its book of allowances, its recorder and its connections.

It starts with the server (ASGI lifespan) or with the first request, and follows every change of the configuration.
"""

from __future__ import annotations

import asyncio
import atexit
import gc
import ipaddress
import logging
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import lru_cache, partial
from itertools import chain
from typing import TypeVar

from django.conf import settings
from django.db import close_old_connections, connections

from gateway.abandoned import Abandoned
from gateway.availability import Availability
from gateway.leasing import Leasing
from gateway.line import Line
from gateway.overload import Bounds, Gate
from gateway.provider_health import ProviderHealthTeller
from gateway.pulse import Pulse
from gateway.repeats import Floods, Repeats
from gateway.upstream import Upstream
from governance import grants, snapshot
from governance.domain.access import SecretGrant, parse_networks
from governance.domain.book import Book
from governance.snapshot import Changes, Snapshot
from observability import exposition, health, live, metrics
from observability.health import Check
from observability.spool import Spool
from observability.writing.choice import configured as configured_recorder
from observability.writing.client import ProcessRecorder

log = logging.getLogger(__name__)
_T = TypeVar("_T")

POLL_SECONDS = 0.25
"""How often a process looks whether the configuration changed: a revoked key is refused well within a second."""
BREATH_SECONDS = 0.001
"""How long the reading of the whole configuration pauses after every few rows, about a millisecond's work."""
SWITCH_SECONDS = 0.0005
"""How long a thread keeps the interpreter's lock from others meanwhile; Python's own 5 ms are a request's life."""
WHOLE_AGAIN_SECONDS = 2.0
"""Until the whole configuration is read again after it could not be."""
SLOW_SECONDS = 120.0
"""How long it may take with 100,000 keys and much more before `/readyz` says so."""
STALE_SECONDS = 15.0
"""After so long without reading the configuration, `/readyz` says so."""


class Gateway:
    """Everything that a request needs and that outlives it."""

    def __init__(self) -> None:
        configured = settings.COMPTROLLER
        self.pepper: str = configured["COMPTROLLER_KEY_PEPPER"]
        self.max_body_bytes: int = configured["COMPTROLLER_MAX_BODY_BYTES"]
        self.max_header_bytes: int = configured["COMPTROLLER_MAX_HEADER_BYTES"]
        self.body_seconds: float = configured["COMPTROLLER_BODY_TIMEOUT_SECONDS"]
        self.snapshot: Snapshot = snapshot.EMPTY
        self.proven: dict[str, SecretGrant] = {}
        """Secrets compared with their digest under this snapshot: real ones only, so as many as there are keys."""
        self._secrets_of: defaultdict[int, set[str]] = defaultdict(set)
        """Those of `proven`, by the key's id."""
        self.book = Book()
        self.on_ladders: Counter[str] = Counter()
        """How many requests run on each budget that has a ladder."""
        self.spool = Spool.configured()
        self.recorder = configured_recorder(self.spool, on_posted=self.book.posted, on_written=self.book.written)
        self.leasing = Leasing(self.book, self.recorder.owner, self._follow_once)
        self.upstream = Upstream(
            connect_timeout=configured["COMPTROLLER_UPSTREAM_CONNECT_TIMEOUT"],
            read_timeout=configured["COMPTROLLER_UPSTREAM_READ_TIMEOUT"],
            allow_private=configured["COMPTROLLER_ALLOW_PRIVATE_UPSTREAMS"],
        )
        self.abandoned = Abandoned(
            most=configured["COMPTROLLER_ABANDONED_REQUESTS"], seconds=configured["COMPTROLLER_ABANDONED_SECONDS"]
        )
        self.availability = Availability(on_rejected=self._credential_rejected)
        self.provider_health = ProviderHealthTeller(self.availability, self.recorder.owner)
        self.stall_seconds: float = configured["COMPTROLLER_STALL_SECONDS"]
        self.translating = asyncio.Semaphore(1)
        """Held by the one large body that is being translated."""
        self.repeats = Repeats()
        self.floods = Floods()
        self.gate = Gate(
            Bounds(
                requests=configured["COMPTROLLER_MAX_REQUESTS"],
                body_bytes=configured["COMPTROLLER_MAX_BODY_MEMORY_BYTES"],
                queue=configured["COMPTROLLER_QUEUE_REQUESTS"],
                seconds=configured["COMPTROLLER_QUEUE_SECONDS"],
                lag=configured["COMPTROLLER_MAX_LAG_MS"] / 1000,
            )
        )
        self._proxies = parse_networks(configured["COMPTROLLER_TRUSTED_PROXIES"])
        # One thread, so that the configuration is always read over the same database connection.
        self._reader = ThreadPoolExecutor(1, "configuration")
        # And one that reads the whole of it, while the other goes on following single keys.
        self._whole_reader = ThreadPoolExecutor(1, "configuration-whole")
        self._whole: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self.pulse = Pulse(self.gate, self._loop)
        self._follower: asyncio.Task[None] | None = None
        self._read_at = 0.0
        self._problem = "not read yet"
        self._whole_problem = ""
        self._whole_since = self._whole_again_at = 0.0

    async def start(self) -> None:
        """Read the configuration, then follow it. A database that is away delays readiness, not the start."""
        live.bind(self._loop)
        self.recorder.start()
        if isinstance(self.recorder, ProcessRecorder):
            exposition.remote = self.recorder.scrape
        # A second signal makes the server skip its shutdown: what is recorded is written all the same.
        atexit.register(self.recorder.drain, 5.0)
        health.register("configuration", self._configuration_check)
        health.register("recorder", self._recorder_check)
        health.register("spool", self.spool.check)
        health.register("budgets", self._budgets_check)
        health.register("providers", self.provider_health.check)
        health.register("load", self.pulse.check)
        await self._follow_once()
        # What is loaded now stays: the collector need not walk through it again and again while requests run.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)
        self._follower = self._loop.create_task(self._follow())
        self.leasing.start()
        self.provider_health.start()
        self.pulse.start()

    async def stop(self) -> None:
        """Write what is recorded and close every connection."""
        for task in (self._follower, self._whole):
            if task is not None:
                task.cancel()
        self.pulse.stop()
        await self.provider_health.stop()
        left = await self._loop.run_in_executor(None, self.recorder.drain, 20.0)
        if await self.leasing.stop(written=not left):
            # Not before: a folder that is left makes the next process give back what this one held.
            await self._loop.run_in_executor(None, self.spool.discard)
        atexit.unregister(self.recorder.drain)
        exposition.remote = None
        live.unbind()
        await self.upstream.close()
        for reader in (self._reader, self._whole_reader):
            await self._loop.run_in_executor(reader, connections.close_all)
            reader.shutdown(wait=False)

    def client_ip(self, line: Line) -> str | None:
        """The client's address; X-Forwarded-For is believed only from the proxies that the settings name."""
        address = line.client
        if not self._proxies:
            return _valid_ip(address)
        forwarded = [
            part.strip()
            for name, value in line.headers
            if name == b"x-forwarded-for"
            for part in value.decode("latin-1").split(",")
        ]
        while (
            forwarded
            and _valid_ip(address)
            and any(ipaddress.ip_address(address or "") in network for network in self._proxies)
        ):
            address = forwarded.pop()
        return _valid_ip(address)

    def stream_started(self) -> None:
        metrics.stream_started()

    def stream_ended(self) -> None:
        metrics.stream_ended()

    def _credential_rejected(self, provider: str, credential: str, status: int | None, news: bool, said: str) -> None:
        metrics.credential_rejected(provider)
        if news:
            words = f": {said}" if said else "."
            log.error("Provider %s rejected the credential %s with status %s%s", provider, credential, status, words)
            self.provider_health.look()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            metrics.set_running(
                tasks=len(asyncio.all_tasks()),
                holds=self.book.open_holds,
                outstanding=self.spool.outstanding,
                abandoned=len(self.abandoned),
            )
            await self._follow_once(wait=False)

    async def _follow_once(self, *, wait: bool = True) -> None:
        """Take over what changed. With `wait` also what makes it read the whole configuration, however long that is."""
        try:
            if await self._follow_keys() and self._whole is None and time.monotonic() >= self._whole_again_at:
                self._whole_since = self._whole_since or time.monotonic()
                self._whole = self._loop.create_task(self._follow_whole())
                self._whole.add_done_callback(self._whole_is_read)
            if wait and self._whole is not None:
                await asyncio.shield(self._whole)
            self._read_at, self._problem = time.monotonic(), ""
        except Exception as error:
            # Requests go on with the configuration that is known; /readyz and the log say that it is not followed.
            if not self._problem:
                log.exception("The configuration cannot be read")
            self._problem = f"{type(error).__name__}: {error}"

    async def _follow_keys(self) -> bool:
        """Take over the keys that changed, and say whether more than keys did."""
        known = self.snapshot
        changes, fresh = await self._read(lambda: _changed_keys(known))
        if fresh is not None and self.snapshot is known:
            self._show(fresh, changes.keys)
        return changes.whole

    async def _follow_whole(self) -> None:
        """Read everything beside the traffic, and what changed of single keys meanwhile."""
        gently = bool(self.snapshot.version)
        load = partial(_load, _breathe if gently else lambda: None)
        fresh = await self._read(load, self._whole_reader)
        while True:
            changes, caught_up = await self._read(partial(_changed_keys, fresh), self._whole_reader)
            if caught_up is not None:
                fresh = caught_up
            # Nothing that is in force already may be undone: a key that was revoked meanwhile stays revoked.
            elif fresh.keys_version >= min(self.snapshot.keys_version, changes.version):
                break
            else:  # more keys changed than are read one by one
                fresh = await self._read(load, self._whole_reader)
        self.book.configure(fresh.allowances)
        before = list(self.snapshot.secrets.values())
        self._show(fresh)
        self.availability.configured(fresh.providers.values(), time.monotonic())
        self.provider_health.look()
        self._loop.run_in_executor(self._whole_reader, _dismantle, before)

    def _whole_is_read(self, task: asyncio.Task[None]) -> None:
        self._whole = None
        if not task.cancelled() and (error := task.exception()) is not None:
            if not self._whole_problem:
                log.error("The configuration cannot be read", exc_info=error)
            self._whole_problem = f"{type(error).__name__}: {error}"
            self._whole_again_at = time.monotonic() + WHOLE_AGAIN_SECONDS
        else:
            self._whole_problem, self._whole_since = "", 0.0

    def _show(self, fresh: Snapshot, keys: Collection[int] | None = None) -> None:
        """Requests that begin from now on are decided by it; what was proven of other keys stays proven."""
        self.snapshot = fresh
        if keys is None:
            self.proven, self._secrets_of = {}, defaultdict(set)
            return
        for presented in chain.from_iterable(self._secrets_of.pop(key, ()) for key in keys):
            self.proven.pop(presented, None)

    def prove(self, presented: str, known: SecretGrant) -> None:
        """Remember that a secret was compared with its digest, until its key changes."""
        self.proven[presented] = known
        self._secrets_of[known.grant.key_id].add(presented)

    async def _read(self, read: Callable[[], _T], reader: ThreadPoolExecutor | None = None) -> _T:
        def with_fresh_connection() -> _T:
            close_old_connections()
            return read()

        return await self._loop.run_in_executor(reader or self._reader, with_fresh_connection)

    def _budgets_check(self) -> Check:
        """Away is degraded, not unready: what is not hard goes on, and another replica would fare the same."""
        if not self.leasing.away:
            return Check(True, "Budgets and limits are followed.", required=False)
        why = self.leasing.problem or "the database does not answer"
        detail = f"Hard limits live on what they hold and then refuse, all others go on: {why}"
        return Check(False, detail, required=False)

    def _configuration_check(self) -> Check:
        if not self.snapshot.version:
            return Check(False, f"not read yet: {self._problem}")
        age = time.monotonic() - self._read_at
        if age > STALE_SECONDS:
            return Check(False, f"not followed for {age:.0f} s: {self._problem}")
        waits = time.monotonic() - self._whole_since if self._whole_since else 0.0
        if waits > (STALE_SECONDS if self._whole_problem else SLOW_SECONDS):
            why = self._whole_problem or "it is still being read"
            return Check(False, f"a change of more than keys is not followed for {waits:.0f} s: {why}")
        return Check(True, f"version {self.snapshot.version}, {len(self.snapshot.secrets)} secrets")

    def _recorder_check(self) -> Check:
        state = self.recorder.state()
        works = state.accepting and state.running
        detail = f"{state.pending} rows waiting, the oldest for {state.lag_s:.1f} s; {state.set_aside} set aside"
        return Check(works and not state.last_error, state.last_error or detail, required=not works)


def _changed_keys(known: Snapshot) -> tuple[Changes, Snapshot | None]:
    """What changed since, and the configuration with the keys that did."""
    changes = snapshot.changes_since(known)
    return changes, snapshot.with_keys(known, changes) if changes.keys and known.version else None


def _load(breathe: Callable[[], None]) -> Snapshot:
    """Read the configuration; the collector would walk through what is being built again and again."""
    gc.disable()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        fresh = snapshot.load(datetime.now(UTC), breathe)
        # What was built stays: no collection need ever walk through it (the event loop would stand still for it).
        gc.freeze()
        return fresh
    finally:
        sys.setswitchinterval(interval)
        gc.enable()


def _breathe() -> None:
    """Give the event loop its turn: a thread that computes on takes the interpreter's lock from it again and again."""
    time.sleep(BREATH_SECONDS)


def _dismantle(before: list[SecretGrant]) -> None:
    """Let go of an older configuration a few keys at a time: all at once would hold the lock for 0.1 s."""
    while before:
        del before[-grants.CHUNK :]
        _breathe()


MAX_ADDRESS = 64
"""Characters of the longest address, with its zone; forwarded ones are the client's word."""


@lru_cache(maxsize=4096)
def _valid_ip(address: str | None) -> str | None:
    try:
        return str(ipaddress.ip_address(address)) if address and len(address) <= MAX_ADDRESS else None
    except ValueError:
        return None


_gateway: Gateway | None = None
_starting: asyncio.Lock | None = None


def running() -> Gateway | None:
    """The process's gateway where it was started."""
    return _gateway


async def current() -> Gateway:
    """The process's gateway, started on first use where the server has no lifespan (Daphne in development)."""
    return _gateway if _gateway is not None else await start()


async def start() -> Gateway:
    """Start the process's gateway; a second call returns the first one's."""
    global _gateway, _starting
    if _starting is None:
        _starting = asyncio.Lock()
    async with _starting:
        if _gateway is None:
            gateway = Gateway()
            await gateway.start()
            _gateway = gateway
        return _gateway


def stopping() -> None:
    """The server was told to stop: nobody waits for a place any more, while what runs may end."""
    if _gateway is not None:
        _gateway.gate.stop()


async def stop() -> None:
    """Stop the process's gateway where it was started."""
    global _gateway, _starting
    gateway, _gateway, _starting = _gateway, None, None
    if gateway is not None:
        await gateway.stop()
