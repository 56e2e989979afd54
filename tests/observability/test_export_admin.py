"""Exports in the admin: who may ask for which, and who may download them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Permission, User
from django.db import connections
from django.test import AsyncClient, Client

from governance.models import AuditEntry, Customer
from observability.exports import services, worker
from observability.models import LogExport
from tests.fakes import seed

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
LIST = "/admin/observability/logexport/"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.DATA_DIR = tmp_path
    # No broker here: the sweep is called by hand.
    monkeypatch.setattr(services, "_start_soon", lambda: None)


def exporter(name: str, customer: Customer) -> User:
    user = seed.member(name, customer=customer)
    user.user_permissions.add(Permission.objects.get(codename="add_logexport"))
    return user


def form(customer: Customer | None) -> dict[str, Any]:
    return {
        "format": "jsonl.gz",
        "starts_at_0": "2026-11-01",
        "starts_at_1": "00:00:00",
        "ends_at_0": "2026-11-20",
        "ends_at_1": "12:00:00",
        "customer": customer.pk if customer else "",
    }


@pytest.mark.django_db
def test_a_member_asks_for_their_own_customer_and_no_other(client: Client) -> None:
    made = seed.install(NOW)
    acme, globex = made.customers["Acme"], made.customers["Globex"]
    client.force_login(exporter("alice", acme))
    assert "Globex" not in client.get(f"{LIST}add/").content.decode()
    for customer in (globex, None):
        assert client.post(f"{LIST}add/", form(customer)).status_code == 200
    assert not LogExport.objects.exists()
    assert client.post(f"{LIST}add/", form(acme)).status_code == 302
    export = LogExport.objects.get()
    assert (export.customer, export.requested_by, export.status) == (acme, User.objects.get(), "queued")
    assert AuditEntry.objects.filter(action="log_export.requested", target_id=str(export.pk)).count() == 1
    page = client.get(LIST)
    assert page.status_code == 200
    assert "Its file is written within a minute" in page.content.decode()
    assert "Not yet" in page.content.decode()
    assert client.get(f"{LIST}{export.pk}/change/").status_code == 200


@pytest.mark.django_db
def test_a_team_lead_cannot_export_a_customer(client: Client) -> None:
    made = seed.install(NOW)
    lead = seed.member("bob", team=made.teams["Acme/Core"])
    lead.user_permissions.add(Permission.objects.get(codename="add_logexport"))
    client.force_login(lead)
    assert client.post(f"{LIST}add/", form(made.customers["Acme"])).status_code == 200
    assert not LogExport.objects.exists()


@pytest.mark.django_db(transaction=True)
async def test_a_download_is_streamed_audited_and_refused_to_outsiders() -> None:
    def prepare() -> tuple[LogExport, User, User, User, bytes]:
        made = seed.install(NOW)
        seed.requests(made, NOW, days=5, rows=40)
        acme = made.customers["Acme"]
        alice, charlie = exporter("alice", acme), exporter("charlie", made.customers["Globex"])
        lead = seed.member("bob", team=made.teams["Acme/Core"])
        export = services.request_export(
            format="jsonl.gz", starts_at=NOW - timedelta(days=6), ends_at=NOW, customer=acme, actor=alice
        )
        worker.run_waiting()
        export.refresh_from_db()
        return export, alice, charlie, lead, (worker.folder() / export.path).read_bytes()

    export, alice, charlie, lead, content = await sync_to_async(prepare)()
    address = f"{LIST}{export.pk}/download/"
    client = AsyncClient()
    for outsider in (charlie, lead):
        await client.aforce_login(outsider)
        assert (await client.get(address)).status_code == 404
        assert f"{export.pk}/download" not in (await client.get(LIST)).content.decode()
    assert not await AuditEntry.objects.filter(action="log_export.downloaded").aexists()
    await client.aforce_login(alice)
    response = await client.get(address)
    assert response.status_code == 200
    assert f'-{export.pk}.jsonl.gz"' in response["Content-Disposition"]
    assert b"".join([piece async for piece in response.streaming_content]) == content
    entry = await AuditEntry.objects.aget(action="log_export.downloaded")
    assert (entry.actor_id, entry.target_id) == (alice.pk, str(export.pk))
    # The worker thread's own connection would keep PostgreSQL from dropping the test database.
    await sync_to_async(connections.close_all)()


@pytest.mark.django_db
def test_an_export_without_its_file_says_what_to_do(client: Client) -> None:
    export = LogExport.objects.create(
        format="jsonl.gz", starts_at=NOW - timedelta(days=1), ends_at=NOW, status="done", path="gone.jsonl.gz"
    )
    client.force_login(User.objects.create_superuser("root", password="root-password-1"))
    page = client.get(f"{LIST}{export.pk}/download/", follow=True)
    assert "ask for the export again" in page.content.decode()
