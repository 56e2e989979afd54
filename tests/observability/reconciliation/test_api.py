"""Reconciliation over the API: who sees every customer reads it, who does not sees nothing of it; and the metric."""

from __future__ import annotations

import json
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from governance.models import Customer, ReconciliationException
from observability.reconciliation.drift import DriftCollector
from observability.reconciliation.parse import read_file
from observability.reconciliation.services import compare_day, import_report
from tests.governance.api.world import World, client_for, member, user_with
from tests.observability.reconciliation.books import DAY, LATER, OPUS, Books, reports_of

pytestmark = pytest.mark.django_db
PATHS = ("reconciliation-days", "reconciliation-exceptions", "report-imports", "month-locks")


@pytest.fixture
def books() -> Books:
    books = Books()
    books.request(output=100_000, cache_read=5)
    cost, _ = reports_of(DAY, output="50")
    report = read_file(json.dumps({"data": [cost], "has_more": False}).encode())
    import_report(report=report, source="file", actor=None, now=LATER)
    compare_day(DAY, now=LATER)
    return books


def test_who_sees_every_customer_reads_days_lines_and_exceptions(books: Books) -> None:
    alice = member("alice", books.acme)
    (day,) = alice.get("/api/v1/reconciliation-days/?state=off").json()["results"]
    assert (day["ours_usd"], day["theirs_usd"], day["drift_usd"]) == ("2.000002", "2.500002", "-0.5")
    assert "lines" not in day
    whole = alice.get("/api/v1/reconciliation-days/2026-11-18/").json()
    assert [(line["token_class"], line["status"]) for line in whole["lines"]] == [
        ("cache_read", "matched"), ("output", "off"),
    ]  # fmt: skip
    (found,) = alice.get("/api/v1/reconciliation-exceptions/?status=open").json()["results"]
    assert (found["model"], found["difference_usd"], found["day"]) == (OPUS, "-0.5", "2026-11-18")
    (report,) = alice.get("/api/v1/report-imports/").json()["results"]
    assert (report["kind"], report["days"], len(report["sha256"])) == ("cost", 1, 64)
    assert alice.post("/api/v1/reconciliation-days/", {}, format="json").status_code == 405


def test_charlie_and_who_sees_one_of_two_customers_see_nothing(books: Books) -> None:
    globex = Customer.objects.create(name="Globex")
    for client in (member("charlie", globex), member("alice", books.acme), member("bob", books.acme, books.core)):
        for path in PATHS:
            assert client.get(f"/api/v1/{path}/").json()["results"] == []
        assert client.get("/api/v1/reconciliation-days/2026-11-18/").status_code == 404
    nobody = client_for(user_with("nobody", customer=books.acme))
    assert {nobody.get(f"/api/v1/{path}/").status_code for path in PATHS} == {403}


def test_charges_after_the_lock_are_seen_by_their_own_customer_only(world: World) -> None:
    ReconciliationException.objects.create(kind="late", day=DAY, customer=world.acme, opened_at=LATER)
    counts = {name: len(_exceptions(getattr(world, name))) for name in ("alice", "bob", "charlie", "root")}
    assert counts == {"alice": 1, "bob": 0, "charlie": 0, "root": 1}


def _exceptions(client: Any) -> list[Any]:
    rows: list[Any] = client.get("/api/v1/reconciliation-exceptions/").json()["results"]
    return rows


def test_the_metric_names_the_drift_of_the_last_final_day(books: Books) -> None:
    registry = CollectorRegistry()
    collector = DriftCollector()
    registry.register(collector)
    text = generate_latest(registry).decode()
    assert f'comptroller_reconciliation_drift_usd{{model="{OPUS}"}} -0.5' in text
    assert "comptroller_reconciliation_exceptions_open 1.0" in text
    assert "comptroller_reconciliation_last_day_timestamp_seconds 1.7949" in text
    ReconciliationException.objects.all().delete()
    assert "comptroller_reconciliation_exceptions_open 1.0" in generate_latest(registry).decode()
    collector.forget()
    assert "comptroller_reconciliation_exceptions_open 0.0" in generate_latest(registry).decode()


def test_without_a_compared_day_there_is_no_drift() -> None:
    registry = CollectorRegistry()
    registry.register(DriftCollector())
    assert "comptroller_reconciliation_drift_usd{" not in generate_latest(registry).decode()
