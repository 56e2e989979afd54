"""Liveness asks nothing; readiness says what is wrong, in time, and to anybody without telling secrets."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from celery import current_app
from django.conf import settings
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.test import AsyncClient, Client

from observability import health
from observability.health import Check

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_checks() -> Iterator[None]:
    before = dict(health._checks)
    yield
    health._checks.clear()
    health._checks.update(before)
    health._passed.clear()


def states(client: Client, status: int, said: str = "") -> dict[str, Any]:
    response = client.get("/readyz")
    assert response.status_code == status, response.content
    body = response.json()
    assert body["status"] == (said or ("ready" if status == 200 else "unready"))
    return dict(body["checks"])


def test_alive_without_the_database(client: Client, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        response = client.get("/healthz")
    assert (response.status_code, response.content) == (200, b"ok\n")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
async def test_monitors_may_ask_by_address(async_client: AsyncClient, path: str) -> None:
    headers = {"host": "10.1.2.3:8000"}
    assert (await async_client.get(path, headers=headers)).status_code == 200
    assert (await async_client.get("/admin/login/", headers=headers)).status_code == 400


def test_ready(client: Client) -> None:
    checks = states(client, 200)
    assert {"database", "migrations", "triggers", "broker"} <= set(checks)
    assert all(check["ok"] and check["detail"].endswith(".") for check in checks.values())


def test_what_other_rooms_register_counts(client: Client) -> None:
    health.register("recorder", lambda: Check(False, "Full."))
    assert states(client, 503)["recorder"] == {"ok": False, "detail": "Full."}
    health.register("recorder", lambda: Check(False, "Slow.", required=False))
    assert states(client, 200, "degraded")["recorder"] == {"ok": False, "detail": "Slow."}
    health.register("another", lambda: Check(False, "Gone."))
    assert not states(client, 503)["another"]["ok"]


def test_a_check_that_hangs_or_raises(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "TIME_LIMIT_S", 0.5)
    end = threading.Event()

    def hang() -> Check:
        end.wait(10)
        return Check(True, "Late.")

    def fail() -> Check:
        raise RuntimeError("connection to db.internal as root failed")

    health.register("hangs", hang)
    health.register("raises", fail)
    try:
        checks = states(client, 503)
    finally:
        end.set()
    assert checks["hangs"] == {"ok": False, "detail": "No answer within 0.5 s."}
    assert checks["raises"] == {"ok": False, "detail": "Failed with RuntimeError; the log says more."}


@pytest.mark.django_db(transaction=True)
def test_missing_triggers_and_migrations(client: Client) -> None:
    from governance import triggers

    ((_, newest),) = (leaf for leaf in MigrationLoader(connection).graph.leaf_nodes() if leaf[0] == "observability")
    rename = "UPDATE django_migrations SET name = %s WHERE app = 'observability' AND name = %s"
    with connection.cursor() as cursor:
        cursor.execute(rename, ["gone", newest])
    triggers.remove(triggers.history_guards(connection))
    try:
        checks = states(client, 503)
    finally:
        triggers.install()
        with connection.cursor() as cursor:
            cursor.execute(rename, [newest, "gone"])
    assert "manage.py migrate" in checks["migrations"]["detail"]
    assert not checks["triggers"]["ok"]
    assert checks["database"]["ok"]


def test_a_broker_that_is_away_keeps_nobody_from_working(client: Client, settings: Any, tmp_path: Path) -> None:
    in_the_way = tmp_path / "queue"
    in_the_way.write_text("no folder")
    settings.CELERY_BROKER_TRANSPORT_OPTIONS = {"data_folder_in": str(in_the_way / "messages")}
    check = states(client, 200, "degraded")["broker"]
    assert not check["ok"]


def test_the_broker_that_is_asked_after_is_the_one_of_the_settings() -> None:
    """Checks and requests run in threads of their own, where Celery would fall back to amqp://localhost."""
    with ThreadPoolExecutor(1) as pool:
        application = pool.submit(lambda: (current_app.main, current_app.conf.broker_url)).result()
    assert application == ("comptroller", settings.CELERY_BROKER_URL)
