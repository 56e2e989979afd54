"""Readiness: named checks, run side by side, each with a time limit; other rooms register their own."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from celery import current_app
from django.conf import settings
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from governance.triggers import missing_triggers

logger = logging.getLogger(__name__)
TIME_LIMIT_S = 3


class Status(StrEnum):
    """What all checks together say of this process."""

    READY = "ready"
    DEGRADED = "degraded"
    """Requests may be sent here, and something is not as it should be."""
    UNREADY = "unready"

    @property
    def http(self) -> int:
        return 503 if self is Status.UNREADY else 200


@dataclass(frozen=True, slots=True)
class Check:
    """`detail` is one sentence for a person and names no secret. A check that fails makes the process unready
    only where it is `required`: without its broker or with a provider down it still serves requests, degraded.
    """

    ok: bool
    detail: str
    required: bool = True


_checks: dict[str, Callable[[], Check]] = {}
_passed: set[str] = set()
"""Checks that cannot fail again in this process once they have passed."""


def register(name: str, check: Callable[[], Check]) -> None:
    """Add a check, or replace the one of this name. It runs in a thread and must end within three seconds."""
    _checks[name] = check


def unregister(name: str) -> None:
    _checks.pop(name, None)


def report() -> tuple[Status, dict[str, dict[str, Any]]]:
    """(status, {name: {ok, detail}}). Blocks up to the time limit: call it off the event loop."""
    pool = ThreadPoolExecutor(max_workers=max(1, len(_checks)), thread_name_prefix="readyz")
    futures: dict[str, Future[Check]] = {name: pool.submit(_run, check) for name, check in _checks.items()}
    wait(futures.values(), timeout=TIME_LIMIT_S)
    pool.shutdown(wait=False)
    status, states = Status.READY, {}
    for name, future in futures.items():
        result = future.result() if future.done() else Check(False, f"No answer within {TIME_LIMIT_S} s.")
        if not result.ok:
            status = Status.UNREADY if result.required or status is Status.UNREADY else Status.DEGRADED
        states[name] = {"ok": result.ok, "detail": result.detail}
    return status, states


def _run(check: Callable[[], Check]) -> Check:
    try:
        return check()
    except Exception as error:
        # The reason may name hosts and users: the page is open, the log is not.
        logger.warning("A readiness check failed: %s", error)
        return Check(False, f"Failed with {type(error).__name__}; the log says more.")
    finally:
        connection.close()


def check_database() -> Check:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return Check(True, f"{connection.display_name} answers.")


def check_migrations() -> Check:
    if "migrations" not in _passed:
        executor = MigrationExecutor(connection)
        missing = len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
        if missing:
            return Check(False, f"{missing} migrations are missing; run `manage.py migrate`.")
        _passed.add("migrations")
    return Check(True, "All migrations are applied.")


def check_triggers() -> Check:
    missing = missing_triggers()
    if missing:
        return Check(False, f"Database triggers are missing ({', '.join(missing)}); run `manage.py migrate`.")
    return Check(True, "History is guarded by its triggers.")


def check_broker() -> Check:
    try:
        _reach_broker()
    except Exception as error:
        logger.warning("The task queue cannot be reached: %s", error)
        return Check(False, "The task queue does not answer: background tasks wait, requests go on.", required=False)
    return Check(True, "The task queue answers.", required=False)


def _reach_broker() -> None:
    if settings.CELERY_BROKER_URL.startswith("filesystem:"):
        folder = Path(settings.CELERY_BROKER_TRANSPORT_OPTIONS["data_folder_in"])
        folder.mkdir(parents=True, exist_ok=True)
        folder.with_name(".readyz").touch()
        return
    with current_app.connection_for_write() as broker:
        broker.ensure_connection(max_retries=1, timeout=TIME_LIMIT_S - 1)


for _name, _check in (
    ("database", check_database),
    ("migrations", check_migrations),
    ("triggers", check_triggers),
    ("broker", check_broker),
):
    register(_name, _check)
