"""What each role may do over the API."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group

from governance.models import Customer, Developer, Team, VirtualKey
from governance.roles import ROLES
from tests.governance.api.world import client_for, user_with

READS = {
    "customers", "teams", "projects", "developers", "keys", "budgets", "rate-limits", "providers", "prices",
    "price-proposals", "price-overrides", "model-aliases", "repricings", "audit", "requests", "exports", "raises",
}  # fmt: skip
RECONCILIATION = {"reconciliation-days", "reconciliation-exceptions", "report-imports", "month-locks"}
READS |= RECONCILIATION | {"processes", "routes"}
USAGE = {"customers", "teams", "projects", "developers", "keys", "budgets", "rate-limits", "requests", "raises"}
READS |= {"alerts", "alert-channels", "alert-deliveries"}
USAGE |= {"alerts"}
MAY_READ = {
    "Platform admin": READS,
    "Finance": READS,
    "Team lead": USAGE,
    "Developer": set(),
    "Auditor": READS,
}
WRITES = {
    "customers": {"name": "New"},
    "teams": {"customer": "Acme", "name": "New"},
    "projects": {"customer": "Acme", "team": "Core", "name": "New"},
    "developers": {"customer": "Acme", "team": "Core", "email": "new@acme.test"},
    "keys": {"team": "Core", "name": "new"},
    "budgets": {"scope": "team", "target": "Core", "limit_usd": "1"},
    "rate-limits": {"scope": "team", "target": "Core", "unit": "concurrent", "limit": 1},
    "providers": {"name": "new"},
    "routes": {"name": "new", "scope": "team", "target": "Core", "max_tokens": 8000},
    "prices": {
        "model_id": "claude-test", "input": "1", "output": "1", "cache_read": "1", "cache_write_5m": "1",
        "cache_write_1h": "1",
    },
    "alert-channels": {"customer": "Acme", "name": "new", "kind": "email", "emails": ["a@acme.test"]},
    "exports": {"customer": "Acme", "starts_at": "2026-11-01T00:00:00Z", "ends_at": "2026-11-02T00:00:00Z"},
}  # fmt: skip
MAY_WRITE = {
    "Platform admin": set(WRITES),
    "Finance": {"alert-channels", "budgets", "prices", "exports"},
    "Team lead": {"projects", "developers", "keys"},
    "Developer": set(),
    "Auditor": set(),
}


@pytest.mark.django_db
@pytest.mark.parametrize("role", sorted(ROLES))
def test_role(role: str) -> None:
    acme = Customer.objects.create(name="Acme")
    core = Team.objects.create(customer=acme, name="Core")
    user = user_with("someone", customer=acme, team=core if role == "Team lead" else None)
    user.groups.add(Group.objects.get(name=role))
    client = client_for(user)
    assert {path for path in READS if client.get(f"/api/v1/{path}/").status_code == 200} == MAY_READ[role]
    answers = {path: client.post(f"/api/v1/{path}/", body, format="json") for path, body in WRITES.items()}
    assert {path for path, answer in answers.items() if answer.status_code == 201} == MAY_WRITE[role]
    assert {answer.status_code for answer in answers.values()} <= {201, 403}


@pytest.mark.django_db
def test_credentials_are_for_platform_admins() -> None:
    for role in sorted(ROLES):
        user = user_with(role.replace(" ", "-"))
        user.groups.add(Group.objects.get(name=role))
        status = client_for(user).get("/api/v1/providers/1/credentials/").status_code
        assert status == (404 if role == "Platform admin" else 403)


@pytest.mark.django_db
def test_a_team_lead_stays_in_the_team() -> None:
    acme = Customer.objects.create(name="Acme")
    core, web = (Team.objects.create(customer=acme, name=name) for name in ("Core", "Web"))
    key = VirtualKey.objects.create(team=web, name="web")
    Developer.objects.create(customer=acme, email="boss@acme.test")
    user = user_with("lead", customer=acme, team=core)
    user.groups.add(Group.objects.get(name="Team lead"))
    client = client_for(user)
    assert client.post("/api/v1/keys/", {"team": "Web", "name": "n"}, format="json").status_code == 400
    assert client.post(f"/api/v1/keys/{key.pk}/revoke/", {}, format="json").status_code == 404
    assert client.patch(f"/api/v1/customers/{acme.pk}/", {"name": "Mine"}, format="json").status_code == 403
    assert (
        client.post("/api/v1/developers/", {"customer": "Acme", "email": "n@acme.test"}, format="json").status_code
        == 403
    )
