"""Gateway processes in the admin: who runs, who holds what, and the release of what a dead one held."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from ulid import ULID

from governance import ledger
from governance.admin.processes import ago
from governance.models import AllowanceWindow, AuditEntry, Budget, GatewayProcess, Lease
from tests.governance.admin.conftest import Tenant, sign_in

USD = 10**9
LIST = "admin:governance_gatewayprocess_changelist"


def a_process(host: str, *, silent: timedelta) -> GatewayProcess:
    now = timezone.now()
    row: GatewayProcess = GatewayProcess.objects.create(
        id=str(ULID()), host=host, pid=7, started_at=now - timedelta(hours=2), seen_at=now - silent
    )
    return row


def hold(process: GatewayProcess, budget: Budget, amount: int) -> AllowanceWindow:
    window, _ = AllowanceWindow.objects.get_or_create(
        allowance=f"budget:{budget.pk}", budget=budget, definition=ledger.definition(budget),
        starts_at=timezone.now().replace(day=1, hour=0, minute=0, second=0, microsecond=0),
        defaults={"limit": 100 * USD},
    )  # fmt: skip
    Lease.objects.create(window=window, owner=process.pk, amount=amount)
    window.held += amount
    window.save()
    return window


def detail(process: GatewayProcess) -> str:
    return reverse("admin:governance_gatewayprocess_change", args=[process.pk])


def release(process: GatewayProcess) -> str:
    return reverse("admin:governance_gatewayprocess_release", args=[process.pk])


def test_the_list_says_who_runs_and_who_holds_what(root: Client, acme: Tenant) -> None:
    running, dead = a_process("gw-1", silent=timedelta(seconds=3)), a_process("gw-2", silent=timedelta(minutes=12))
    hold(running, acme.budget, 2 * USD)
    hold(dead, acme.budget, 3 * USD)
    page = root.get(reverse(LIST)).content.decode()
    for said in ("Running", "Silent", "3 s ago", "12 min ago", "2.00", "3.00"):
        assert said in page
    assert "amounts of the customers that you may see" not in page
    shown = root.get(detail(dead)).content.decode()
    assert "No sign of life for 12 min; it holds $3.00 of budgets." in shown
    assert reverse("admin:governance_budget_change", args=[acme.budget.pk]) in shown
    assert release(dead) in shown
    assert release(running) not in root.get(detail(running)).content.decode()


def test_release_asks_first_says_what_it_means_and_is_audited(root: Client, acme: Tenant) -> None:
    dead = a_process("gw-2", silent=timedelta(minutes=12))
    window = hold(dead, acme.budget, 3 * USD)
    asked = root.get(release(dead)).content.decode()
    assert "Charges in its spool that were never replayed are no longer covered." in asked
    assert "$3.00 of budgets" in asked
    window.refresh_from_db()
    assert window.held == 3 * USD, "asking changes nothing"
    assert "This field is required" in root.post(release(dead), {"reason": ""}).content.decode()
    done = root.post(release(dead), {"reason": "disk burnt"}, follow=True)
    assert [str(message) for message in done.context["messages"]] == ["gw-2 process 7: released $3.00 of budgets."]
    assert "Died, recovered" in done.content.decode()
    window.refresh_from_db()
    assert window.held == 0
    assert AuditEntry.objects.filter(action="gateway_process.released", note="disk burnt").count() == 1


def test_one_that_may_run_is_not_released(root: Client, acme: Tenant) -> None:
    running = a_process("gw-1", silent=timedelta(minutes=4))
    window = hold(running, acme.budget, USD)
    told = root.post(release(running), {"reason": "impatient"}, follow=True)
    assert "release it after 10 minutes of silence" in str(next(iter(told.context["messages"])))
    window.refresh_from_db()
    assert window.held == USD


def test_charlie_neither_reads_anothers_amounts_nor_releases(
    charlie: Client, alice: Client, acme: Tenant, globex: Tenant
) -> None:
    dead = a_process("gw-2", silent=timedelta(minutes=12))
    window = hold(dead, acme.budget, 3 * USD)
    hold(dead, globex.budget, 5 * USD)
    for client, own, other in ((charlie, "5.00", "3.00"), (alice, "3.00", "5.00")):
        for url in (reverse(LIST), detail(dead)):
            page = client.get(url).content.decode()
            assert own in page
            assert other not in page
            assert "that you may see" in page
        # Neither sees every customer: what it holds is not theirs alone to give away.
        assert release(dead) not in client.get(detail(dead)).content.decode()
        assert client.post(release(dead), {"reason": "mine"}).status_code == 403
    window.refresh_from_db()
    assert window.held == 3 * USD


@pytest.mark.parametrize(
    ("role", "sees"), [("Platform admin", True), ("Finance", True), ("Auditor", True), ("Team lead", False)]
)
def test_roles(acme: Tenant, role: str, sees: bool) -> None:
    dead = a_process("gw-2", silent=timedelta(minutes=12))
    client = sign_in("someone", role=role, customer=acme.customer)
    assert client.get(reverse(LIST)).status_code == client.get(detail(dead)).status_code == (200 if sees else 403)
    assert client.post(release(dead), {"reason": "x"}).status_code == (302 if role == "Platform admin" else 403)
    assert client.get(reverse("admin:governance_gatewayprocess_add")).status_code == 403
    assert client.post(detail(dead), {"host": "mine"}).status_code == 403


def test_the_list_takes_the_same_queries_whatever_its_size(root: Client, acme: Tenant) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert root.get(reverse(LIST)).status_code == 200
        return len(captured)

    hold(a_process("gw-1", silent=timedelta(seconds=1)), acme.budget, USD)
    root.get(reverse(LIST))
    before = queries()
    for number in range(8):
        hold(a_process(f"gw-{number}", silent=timedelta(seconds=1)), acme.budget, USD)
    assert queries() == before


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s ago"), (119, "119 s ago"), (120, "2 min ago"), (7200, "2 h ago"), (200_000, "2 days ago")],
)
def test_how_long_ago(seconds: int, said: str) -> None:
    assert ago(timedelta(seconds=seconds)) == said
