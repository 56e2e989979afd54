"""Raises over the API: asked for, decided by another person, refused to who does not see the budget."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.utils import timezone

from governance.models import Budget, Customer, Raise
from governance.raises import in_force, raised
from governance.services import budgets, raises
from tests.governance.api.world import World, client_for, results, user_with

URL = "/api/v1/raises/"
USD = 10**9


@pytest.fixture
def budget(world: World) -> Budget:
    return budgets.create_budget(target=world.core, limit_nano_usd=100 * USD, actor=None)


def body(budget: Budget, /, **more: Any) -> dict[str, Any]:
    return {"budget": budget.pk, "amount_usd": "12.5", "reason": "month-end close"} | more


def asked(client: Any, budget: Budget, /, **more: Any) -> dict[str, Any]:
    answer = client.post(URL, body(budget, **more), format="json")
    assert answer.status_code == 201, answer.json()
    row: dict[str, Any] = answer.json()
    return row


def raised_now(budget: Budget) -> int:
    now = timezone.now()
    return raised(in_force(None, now).get(budget.pk, []), now)


def test_from_request_to_the_end(world: World, budget: Budget) -> None:
    row = asked(world.bob, budget)
    assert (row["kind"], row["status"], row["amount_usd"], row["requester"]) == ("raise", "requested", "12.5", "bob")
    ends = raises.offered_end(budget, timezone.now())
    assert ends is not None
    assert row["ends_at"] == f"{ends:%Y-%m-%dT%H:%M:%SZ}"
    url = f"{URL}{row['id']}/"
    approved = world.alice.post(f"{url}approve/", {"note": "fine"}, format="json")
    assert approved.status_code == 200, approved.json()
    assert (approved.json()["state"], approved.json()["decided_by"]) == ("In force", "alice")
    assert raised_now(budget) == 12_500_000_000
    again = world.alice.post(f"{url}decline/", {"note": "no"}, format="json")
    assert (again.status_code, "already decided: approved by alice" in again.json()["detail"]) == (409, True)
    assert world.bob.post(f"{url}end/", {}, format="json").json()["status"] == "ended_early"
    assert world.bob.post(f"{url}end/", {}, format="json").status_code == 409
    assert raised_now(budget) == 0


def test_nobody_decides_about_their_own(world: World, budget: Budget) -> None:
    for client in (world.alice, world.root):
        row = asked(client, budget)
        for verb in ("approve", "decline"):
            answer = client.post(f"{URL}{row['id']}/{verb}/", {"note": "mine"}, format="json")
            assert answer.status_code == 403
            assert answer.json()["detail"] == "You asked for it yourself: another person decides."
        assert world.bob.post(f"{URL}{row['id']}/withdraw/", {}, format="json").status_code == 403
        assert client.post(f"{URL}{row['id']}/withdraw/", {}, format="json").json()["status"] == "withdrawn"


def test_charlie_gets_nothing(world: World, budget: Budget) -> None:
    row = asked(world.alice, budget)
    web = asked(world.alice, budgets.create_budget(target=world.web, limit_nano_usd=USD, actor=None))
    assert results(world.charlie.get(URL)) == []
    assert [one["id"] for one in results(world.bob.get(URL))] == [row["id"]]
    for outsider, other in ((world.charlie, row), (world.bob, web)):
        url = f"{URL}{other['id']}/"
        assert outsider.get(url).status_code == 404
        for verb in ("approve", "decline", "withdraw", "end"):
            assert outsider.post(f"{url}{verb}/", {"note": "x"}, format="json").status_code == 404
    refused = world.charlie.post(URL, body(budget), format="json")
    assert (refused.status_code, list(refused.json())) == (400, ["budget"])
    assert Raise.objects.filter(status="requested").count() == 2


def test_roles(world: World, budget: Budget) -> None:
    people = {}
    for role in ("Finance", "Team lead", "Auditor", "Developer"):
        user = user_with(role.replace(" ", "-"), customer=world.acme)
        user.groups.add(Group.objects.get(name=role))
        people[role] = client_for(user)
    codes = {role: client.post(URL, body(budget), format="json").status_code for role, client in people.items()}
    assert codes == {"Finance": 201, "Team lead": 201, "Auditor": 403, "Developer": 403}
    row = asked(world.bob, budget)
    url = f"{URL}{row['id']}/approve/"
    codes = {role: client.post(url, {}, format="json").status_code for role, client in people.items()}
    assert codes == {"Finance": 200, "Team lead": 403, "Auditor": 403, "Developer": 403}


def test_an_emergency_raise_out_of_the_reserve(world: World, budget: Budget) -> None:
    refused = world.bob.post(URL, body(budget, kind="emergency"), format="json")
    assert (refused.status_code, "$0.00 left this month" in refused.json()["amount_usd"][0]) == (400, True)
    Customer.objects.filter(pk=world.acme.pk).update(emergency_reserve_nano_usd=20 * USD)
    row = asked(world.bob, budget, kind="emergency")
    assert (row["status"], row["state"], row["decided_by"]) == ("approved", "In force", "the emergency reserve")
    assert world.bob.post(URL, body(budget, kind="emergency"), format="json").status_code == 400
    assert raised_now(budget) == 12_500_000_000


def test_a_transfer_and_less_than_asked(world: World, budget: Budget) -> None:
    other = budgets.create_budget(target=world.web, limit_nano_usd=USD, actor=None)
    row = asked(world.root, other, kind="transfer", from_budget=budget.pk)
    assert world.alice.post(f"{URL}{row['id']}/approve/", {"amount_usd": "1"}, format="json").status_code == 400
    assert world.alice.post(f"{URL}{row['id']}/approve/", {}, format="json").status_code == 200
    assert (raised_now(budget), raised_now(other)) == (-12_500_000_000, 12_500_000_000)
    giving = world.alice.get(f"{URL}{row['counterpart_id']}/").json()
    assert (giving["amount_usd"], giving["status"]) == ("-12.5", "approved")
    row = asked(world.root, budget)
    part = world.alice.post(f"{URL}{row['id']}/approve/", {"amount_usd": "2"}, format="json")
    assert part.json()["amount_usd"] == "2"


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"kind": "transfer"}, "from_budget"),
        ({"kind": "reset"}, "amount_usd"),
        ({"kind": "emergency", "starts_at": "2030-01-01T00:00:00Z"}, "starts_at"),
        ({"ends_at": "2020-01-01T00:00:00Z"}, "ends_at"),
        ({"amount_usd": "0"}, "detail"),
        ({"amount_usd": "-5"}, "amount_usd"),
        ({"reason": ""}, "reason"),
        ({"status": "approved"}, "status"),
        ({"budget": 10**9}, "budget"),
    ],
)
def test_wrong_input_is_named(world: World, budget: Budget, more: dict[str, Any], field: str) -> None:
    answer = world.alice.post(URL, body(budget, **more), format="json")
    assert answer.status_code == 400
    assert field in answer.json(), answer.json()
    assert not Raise.objects.exists()


def test_a_lifetime_budget_needs_an_end(world: World) -> None:
    lifetime = budgets.create_budget(target=world.core, limit_nano_usd=USD, period="lifetime", actor=None)
    assert "ends_at" in world.alice.post(URL, body(lifetime), format="json").json()
    end = (timezone.now() + timedelta(days=3)).isoformat()
    assert asked(world.alice, lifetime, ends_at=end)["status"] == "requested"


def test_filters(world: World, budget: Budget) -> None:
    first, second = asked(world.bob, budget), asked(world.bob, budget)
    world.alice.post(f"{URL}{first['id']}/decline/", {"note": "no"}, format="json")
    assert [row["id"] for row in results(world.alice.get(URL, {"status": "requested"}))] == [second["id"]]
    assert len(results(world.alice.get(URL, {"budget": budget.pk}))) == 2
    assert results(world.alice.get(URL, {"customer": "Globex"})) == []
