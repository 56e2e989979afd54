"""Customers, teams, projects and developers over the API."""

from __future__ import annotations

from typing import Any

import pytest

from governance.models import AuditEntry, Customer, Membership, Project, Team
from tests.governance.api.world import World, client_for, results, user_with

API = "/api/v1"


def names(answer: Any, field: str = "name") -> set[str]:
    return {row[field] for row in results(answer)}


class TestWhoSees:
    def test_each_sees_their_own(self, world: World) -> None:
        globex_project = Project.objects.create(customer=world.globex, name="secret")
        for path, seen in {
            "customers": ({"Acme"}, {"Acme"}, {"Globex"}),
            "teams": ({"Core", "Web"}, {"Core"}, {"Ops"}),
            "projects": ({"billing"}, {"billing"}, {"secret"}),
        }.items():
            found = [names(getattr(world, who).get(f"{API}/{path}/")) for who in ("alice", "bob", "charlie")]
            assert tuple(found) == seen
        assert names(world.alice.get(f"{API}/developers/"), "email") == {"ada@acme.test"}
        assert names(world.charlie.get(f"{API}/developers/"), "email") == set()
        assert world.alice.get(f"{API}/projects/{globex_project.pk}/").status_code == 404

    def test_charlie_neither_reads_nor_changes(self, world: World) -> None:
        before = AuditEntry.objects.count()
        for path, row in (
            ("customers", world.acme), ("teams", world.core), ("projects", world.billing), ("developers", world.ada),
        ):  # fmt: skip
            url = f"{API}/{path}/{row.pk}/"
            assert world.charlie.get(url).status_code == 404
            assert world.charlie.patch(url, {"is_active": False}, format="json").status_code == 404
        assert (
            world.charlie.post(f"{API}/teams/", {"customer": "Acme", "name": "Mine"}, format="json").status_code == 400
        )
        assert (
            world.charlie.post(f"{API}/teams/", {"customer": world.acme.pk, "name": "Mine"}, format="json").status_code
            == 400
        )
        moved = world.charlie.post(
            f"{API}/developers/", {"customer": "Globex", "team": world.core.pk, "email": "c@globex.test"}, format="json"
        )
        assert moved.status_code == 400
        assert AuditEntry.objects.count() == before

    def test_bob_sees_the_customer_but_changes_only_his_team(self, world: World) -> None:
        for path, row in (("customers", world.acme), ("projects", world.billing)):
            assert world.bob.get(f"{API}/{path}/{row.pk}/").status_code == 200
            answer = world.bob.patch(f"{API}/{path}/{row.pk}/", {"name": "Bobs"}, format="json")
            assert answer.status_code == 403
        assert world.bob.post(f"{API}/teams/", {"customer": "Acme", "name": "Other"}, format="json").status_code == 403
        assert world.bob.post(f"{API}/projects/", {"customer": "Acme", "name": "All"}, format="json").status_code == 403
        own = world.bob.post(f"{API}/projects/", {"customer": "Acme", "team": "Core", "name": "Own"}, format="json")
        assert own.status_code == 201
        away = world.bob.patch(f"{API}/projects/{own.json()['id']}/", {"team": None}, format="json")
        assert away.status_code == 403
        assert set(Project.objects.values_list("name", "team__name")) == {("billing", None), ("Own", "Core")}
        assert not Team.objects.filter(name="Other").exists()
        assert set(AuditEntry.objects.values_list("action", flat=True)) == {"project.created"}


class TestWrites:
    def test_customer(self, world: World) -> None:
        answer = world.root.post(
            f"{API}/customers/", {"name": "Initech", "timezone": "America/New_York"}, format="json"
        )
        assert answer.status_code == 201
        row = answer.json()
        assert row["timezone"] == "America/New_York"
        assert row["is_active"] is True
        changed = world.root.patch(f"{API}/customers/{row['id']}/", {"contact": "finance@initech.test"}, format="json")
        assert changed.json()["contact"] == "finance@initech.test"
        entries = list(AuditEntry.objects.order_by("pk").values_list("action", "actor_name", "target_name", "ip"))
        assert entries == [
            ("customer.created", "root", "Initech", "127.0.0.1"),
            ("customer.changed", "root", "Initech", "127.0.0.1"),
        ]

    def test_who_makes_a_customer_works_on_with_it(self, world: World) -> None:
        made = world.alice.post(f"{API}/customers/", {"name": "Acme 2"}, format="json").json()
        assert world.alice.get(f"{API}/customers/{made['id']}/").status_code == 200
        assert Membership.objects.filter(user__username="alice", customer__name="Acme 2", team=None).exists()

    def test_team_project_developer(self, world: World) -> None:
        team = world.alice.post(
            f"{API}/teams/", {"customer": "acme", "name": "Data", "cost_center": "CC-7"}, format="json"
        )
        assert team.status_code == 201
        assert team.json()["customer"] == "Acme"
        project = world.alice.post(
            f"{API}/projects/",
            {"customer": world.acme.pk, "team": "Data", "name": "etl", "directories": ["*/etl"]},
            format="json",
        )
        assert project.json()["team"] == "Data"
        developer = world.alice.post(
            f"{API}/developers/", {"customer": "Acme", "team": "Acme/Data", "email": "eve@acme.test"}, format="json"
        )
        assert developer.json()["team_id"] == team.json()["id"]
        off = world.alice.patch(f"{API}/developers/{developer.json()['id']}/", {"is_active": False}, format="json")
        assert off.json()["is_active"] is False
        assert list(AuditEntry.objects.order_by("pk").values_list("action", flat=True)) == [
            "team.created", "project.created", "developer.created", "developer.changed",
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("path", "body", "field"),
        [
            ("customers", {"name": "ACME"}, "detail"),
            ("customers", {"name": "New", "timezone": "Mars/Base"}, "timezone"),
            ("customers", {"name": "New", "colour": "red"}, "colour"),
            ("customers", {"name": "New", "id": 7}, "id"),
            ("customers", {}, "name"),
            ("customers", [1], "detail"),
            ("teams", {"customer": "Acme", "name": "core"}, "detail"),
            ("teams", {"customer": "Nowhere", "name": "x"}, "customer"),
            ("teams", {"customer": True, "name": "x"}, "customer"),
            ("developers", {"customer": "Acme", "email": "no address"}, "email"),
            ("developers", {"customer": "Acme", "team": "Ops", "email": "x@acme.test"}, "team"),
        ],
    )
    def test_wrong_input_is_named(self, world: World, path: str, body: Any, field: str) -> None:
        answer = world.root.post(f"{API}/{path}/", body, format="json")
        assert answer.status_code == 400, answer.json()
        assert list(answer.json()) == [field]
        assert AuditEntry.objects.count() == 0

    def test_a_team_stays_with_its_customer(self, world: World) -> None:
        answer = world.root.patch(f"{API}/teams/{world.core.pk}/", {"customer": "Globex"}, format="json")
        assert answer.status_code == 400
        assert "stays with its customer" in answer.json()["customer"][0]

    def test_an_ambiguous_name_asks_for_the_path(self, world: World) -> None:
        Team.objects.create(customer=world.globex, name="Core")
        body: dict[str, Any] = {"scope": "team", "target": "Core", "limit_usd": "1"}
        answer = world.root.post(f"{API}/budgets/", body, format="json")
        assert answer.status_code == 400
        assert "Acme/Core" in answer.json()["target"][0]
        assert world.root.post(f"{API}/budgets/", {**body, "target": "Globex/Core"}, format="json").status_code == 201
        assert (
            world.root.post(f"{API}/budgets/", {**body, "customer": "Acme"}, format="json").json()["customer"] == "Acme"
        )

    def test_not_json_and_not_offered(self, world: World) -> None:
        answer = world.root.post(f"{API}/customers/", "{", content_type="application/json")
        assert (answer.status_code, list(answer.json())) == (400, ["detail"])
        for method in ("put", "delete"):
            refused = getattr(world.root, method)(f"{API}/customers/{world.acme.pk}/", {}, format="json")
            assert refused.status_code == 405
            assert "not offered" in refused.json()["detail"]
        assert Customer.objects.count() == 2


def test_filters(world: World) -> None:
    assert names(world.alice.get(f"{API}/teams/?cost_center=CC-100")) == {"Core"}
    assert names(world.alice.get(f"{API}/teams/?customer=Acme&name__in=Web,Nope")) == {"Web"}
    assert names(world.root.get(f"{API}/teams/?customer={world.globex.pk}")) == {"Ops"}
    assert names(world.alice.get(f"{API}/customers/?is_active=false")) == set()
    assert names(world.alice.get(f"{API}/developers/?team=acme/core"), "email") == {"ada@acme.test"}
    assert world.alice.get(f"{API}/teams/?colour=red").status_code == 400


def test_lists_take_the_same_queries_whatever_their_size(world: World, django_assert_max_num_queries: Any) -> None:
    for n in range(20):
        Team.objects.create(customer=world.acme, name=f"Team {n}")
        Project.objects.create(customer=world.acme, team=world.core, name=f"Project {n}")
    for path in ("customers", "teams", "projects", "developers"):
        client = client_for(user_with(f"reader-{path}", f"governance.view_{path[:-1]}", customer=world.acme))
        with django_assert_max_num_queries(7):
            results(client.get(f"{API}/{path}/"))
