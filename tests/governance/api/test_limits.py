"""Budgets and rate limits over the API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone
from ulid import ULID

from governance import ledger
from governance.models import (
    AllowanceWindow,
    AuditEntry,
    Budget,
    Provider,
    ProviderAccess,
    Raise,
    RateLimit,
    VirtualKey,
)
from tests.governance.api.world import World, client_for, results, user_with

BUDGETS = "/api/v1/budgets/"
LIMITS = "/api/v1/rate-limits/"


def spend(world: World, key: VirtualKey, nano: int, at: datetime) -> None:
    with transaction.atomic():
        ledger.post(
            [
                ledger.Posting(
                    id=str(ULID()), occurred_at=at, customer_id=world.acme.pk, team_id=world.core.pk,
                    project_id=None, developer_id=None, virtual_key_id=key.pk, provider_access_id=None,
                    model="claude-opus-5", amount_nano_usd=nano, tokens=10, price_id=None,
                )
            ]
        )  # fmt: skip


def create(world: World, **body: Any) -> dict[str, Any]:
    answer = world.alice.post(
        BUDGETS, {"scope": "team", "target": "Core", "limit_usd": "10.00", "period": "day", **body}, format="json"
    )
    assert answer.status_code == 201, answer.json()
    row: dict[str, Any] = answer.json()
    return row


class TestBudgets:
    def test_what_is_spent_held_and_left(self, world: World) -> None:
        key = VirtualKey.objects.create(team=world.core, name="k")
        budget = create(world, limit_usd="1204.5")
        assert (budget["spent_usd"], budget["held_usd"], budget["remaining_usd"]) == ("0", "0", "1204.5")
        spend(world, key, 4_200_000, timezone.now())
        AllowanceWindow.objects.filter(budget_id=budget["id"]).update(held=500_000_000)
        row = world.alice.get(f"{BUDGETS}{budget['id']}/").json()
        assert (row["limit_usd"], row["spent_usd"], row["held_usd"]) == ("1204.5", "0.0042", "0.5")
        assert row["remaining_usd"] == "1203.9958"
        (listed,) = results(world.alice.get(BUDGETS))
        assert listed == row
        assert (row["scope"], row["target"], row["target_id"]) == ("team", "Core", world.core.pk)
        assert (row["customer"], row["enforcement"], row["name"]) == ("Acme", "stop", "Acme / Core per day")

    def test_the_limit_in_force_stands_beside_the_base(self, world: World) -> None:
        budget = create(world, limit_usd="100", period="month", carry_over=True)
        now = timezone.now()
        Raise.objects.create(
            budget_id=budget["id"], customer=world.acme, budget_name="b", amount_nano_usd=25_500_000_000,
            starts_at=now - timedelta(hours=1), ends_at=now + timedelta(hours=1), reason="release", status="approved",
            requester_name="ada", decided_by_name="fay",
        )  # fmt: skip
        Budget.objects.filter(pk=budget["id"]).update(created_at=now - timedelta(days=70))
        spend(world, VirtualKey.objects.create(team=world.core, name="k"), 130_000_000_000, now)
        row = world.alice.get(f"{BUDGETS}{budget['id']}/").json()
        names = ("limit_usd", "carried_usd", "raised_usd", "limit_in_force_usd", "spent_usd", "remaining_usd")
        assert {name: row[name] for name in names} == {
            "limit_usd": "100", "carried_usd": "100", "raised_usd": "25.5", "limit_in_force_usd": "225.5",
            "spent_usd": "130", "remaining_usd": "95.5",
        }  # fmt: skip
        # PATCH sets the base; what lies above the limit in force leaves nothing, never less than nothing.
        changed = world.alice.patch(f"{BUDGETS}{budget['id']}/", {"limit_usd": "10"}, format="json").json()
        assert (changed["limit_usd"], changed["limit_in_force_usd"]) == ("10", "45.5")
        assert changed["remaining_usd"] == "0"
        for name in ("carried_usd", "raised_usd", "limit_in_force_usd"):
            answer = world.alice.patch(f"{BUDGETS}{budget['id']}/", {name: "1"}, format="json")
            assert answer.json() == {name: ["This field is read-only."]}

    def test_the_ladder_and_whom_to_tell(self, world: World) -> None:
        said = {
            "owner_email": "ada@acme.test", "approver_email": "fay@acme.test", "carry_over": True, "downgrade_at": 80,
            "downgrade": {"claude-opus-*": "claude-sonnet-5-5"}, "throttle_at": 90, "throttle_concurrent": 3,
        }  # fmt: skip
        row = create(world, **said)
        assert {name: row[name] for name in said} == said
        url = f"{BUDGETS}{row['id']}/"
        for body, field, sentence in (
            ({"downgrade": {}}, "downgrade", "Say which model"),
            ({"downgrade_at": None}, "downgrade_at", "from which percentage"),
            ({"throttle_at": 80}, "throttle_at", "Cheaper models come first"),
            ({"downgrade_at": 100}, "downgrade_at", "1 to 99"),
            ({"throttle_concurrent": 0}, "throttle_concurrent", "at least 1"),
            ({"downgrade": {"a": "b*"}}, "downgrade", "a pattern cannot be sent"),
            ({"downgrade": ["a"]}, "downgrade", "dictionary"),
            ({"period": "lifetime"}, "carry_over", "no next period"),
        ):
            answer = world.alice.patch(url, body, format="json")
            assert answer.status_code == 400, body
            assert sentence in str(answer.json()[field]), answer.json()
        away = {"downgrade_at": None, "downgrade": {}, "throttle_at": None}
        assert world.alice.patch(url, away, format="json").status_code == 200
        assert {name: world.alice.get(url).json()[name] for name in away} == away

    def test_the_period_is_the_customers_day(self, world: World) -> None:
        row = create(world)
        start = datetime.fromisoformat(row["period_start"])
        end = datetime.fromisoformat(row["period_end"])
        assert row["period_start"].endswith("Z")
        assert start.astimezone(UTC).hour in {22, 23}
        assert start <= timezone.now() < end
        assert end - start in {timedelta(hours=hours) for hours in (23, 24, 25)}
        assert create(world, period="lifetime")["period_end"] is None

    def test_every_scope_by_name_path_or_id(self, world: World) -> None:
        provider = Provider.objects.create(name="anthropic")
        key = VirtualKey.objects.create(team=world.core, name="ada-laptop")
        access = ProviderAccess.objects.create(virtual_key=key, provider=provider)
        for scope, targets, shown in (
            ("customer", ["Acme", "acme", world.acme.pk, str(world.acme.pk)], "Acme"),
            ("team", ["Core", "Acme/Core", world.core.pk], "Core"),
            ("project", ["billing", "Acme/billing", world.billing.pk], "billing"),
            ("developer", ["ada@acme.test", world.ada.pk], "ada@acme.test"),
            ("virtual_key", ["ada-laptop", "Core/ada-laptop", "Acme/Core/ada-laptop", key.pk], "ada-laptop"),
            ("provider_access", ["ada-laptop/anthropic", access.pk], "ada-laptop/anthropic"),
        ):  # fmt: skip
            for target in targets:
                row = create(world, scope=scope, target=target)
                assert (row["scope"], row["target"], row["customer"]) == (scope, shown, "Acme")

    def test_change(self, world: World) -> None:
        row = create(world, models=["claude-opus-*"], alerts=[50, 100])
        body = {"limit_usd": 12.34, "enforcement": "observe", "is_active": False}
        changed = world.alice.patch(f"{BUDGETS}{row['id']}/", body, format="json").json()
        assert (changed["limit_usd"], changed["enforcement"], changed["state"]) == ("12.34", "observe", "off")
        assert Budget.objects.get().limit_nano_usd == 12_340_000_000
        entries = list(AuditEntry.objects.order_by("pk").values_list("action", "actor_name"))
        assert entries == [("budget.created", "alice"), ("budget.limit_changed", "alice"), ("budget.changed", "alice")]

    def test_a_limit_changes_with_its_reason(self, world: World) -> None:
        row = create(world)
        url = f"{BUDGETS}{row['id']}/"
        told = world.alice.patch(url, {"limit_usd": "20", "change_reason": "contract of 2027"}, format="json").json()
        assert (told["limit_usd"], "change_reason" in told) == ("20", False)
        for body in ({"limit_usd": "30"}, {"limit_usd": "40", "change_reason": " "}, {"limit_usd": "40"}):
            assert world.alice.patch(url, body, format="json").status_code == 200
        notes = AuditEntry.objects.filter(action="budget.limit_changed").order_by("pk").values_list("note", flat=True)
        unsaid = "over the API, no reason given"
        assert list(notes) == ["contract of 2027", unsaid, unsaid]
        alone = world.alice.patch(url, {"change_reason": "why"}, format="json")
        assert (alone.status_code, list(alone.json())) == (400, ["change_reason"])

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"limit_usd": "-1"}, "limit_usd"), ({"limit_usd": "1e-10"}, "limit_usd"),
            ({"limit_usd": "lots"}, "limit_usd"),
            ({"limit_usd": True}, "limit_usd"), ({"limit_usd": None}, "limit_usd"),
            ({"limit_usd": "1e99"}, "limit_usd"),
            ({"limit_usd": "NaN"}, "limit_usd"), ({"period": "decade"}, "period"), ({"scope": "planet"}, "scope"),
            ({"target": "Nothing"}, "target"), ({"target": {"id": 1}}, "target"), ({"alerts": ["half"]}, "alerts"),
            ({"models": ["no spaces please"]}, "models"), ({"timezone": "Mars"}, "timezone"),
            ({"spent_usd": "0"}, "spent_usd"),
            ({"fiscal_start_month": 13}, "detail"), ({"rolling": 2, "period": "lifetime"}, "detail"),
        ],
    )  # fmt: skip
    def test_wrong_input_is_named(self, world: World, body: dict[str, Any], field: str) -> None:
        whole = {"scope": "team", "target": "Core", "limit_usd": "1", **body}
        answer = world.alice.post(BUDGETS, whole, format="json")
        assert (answer.status_code, list(answer.json())) == (400, [field])
        assert not Budget.objects.exists()

    def test_a_limit_stays_with_its_target(self, world: World) -> None:
        row = create(world)
        for field, value in (("scope", "customer"), ("target", "Web"), ("customer", "Globex")):
            answer = world.root.patch(f"{BUDGETS}{row['id']}/", {field: value}, format="json")
            assert (answer.status_code, list(answer.json())) == (400, [field])

    def test_who_sees_and_changes(self, world: World) -> None:
        core = create(world)
        acme = create(world, scope="customer", target="Acme")
        web = create(world, target="Web")
        ids = {
            who: {row["id"] for row in results(getattr(world, who).get(BUDGETS))} for who in ("alice", "bob", "charlie")
        }
        assert ids == {"alice": {core["id"], acme["id"], web["id"]}, "bob": {core["id"]}, "charlie": set()}
        assert world.charlie.patch(f"{BUDGETS}{core['id']}/", {"limit_usd": "1"}, format="json").status_code == 404
        assert world.bob.patch(f"{BUDGETS}{acme['id']}/", {"limit_usd": "1"}, format="json").status_code == 404
        for scope, target in (
            ("customer", "Acme"),
            ("team", "Core"),
            ("customer", world.acme.pk),
            ("project", world.billing.pk),
        ):
            body = {"scope": scope, "target": target, "limit_usd": "1"}
            assert world.charlie.post(BUDGETS, body, format="json").status_code == 400
        above = world.bob.post(BUDGETS, {"scope": "customer", "target": "Acme", "limit_usd": "1"}, format="json")
        assert above.status_code == 403
        assert Budget.objects.count() == 3

    def test_filters(self, world: World) -> None:
        core, acme = create(world), create(world, scope="customer", target="Acme", period="month")

        def found(query: str) -> set[int]:
            return {row["id"] for row in results(world.alice.get(f"{BUDGETS}?{query}"))}

        assert found("scope=team") == found("team=Core") == found("period=day") == {core["id"]}
        assert found("customer=Acme") == {core["id"], acme["id"]}
        assert found("enforcement=hard") == found("is_active=false") == set()
        assert world.alice.get(f"{BUDGETS}?limit=1").status_code == 400

    def test_the_list_takes_the_same_queries_whatever_its_size(
        self, world: World, django_assert_max_num_queries: Any
    ) -> None:
        key = VirtualKey.objects.create(team=world.core, name="k")
        for period in Budget.Period.values * 3:
            Budget.objects.create(scope="team", team=world.core, limit_nano_usd=1, period=period)
        spend(world, key, 5, timezone.now())
        with django_assert_max_num_queries(8):
            assert len(results(world.alice.get(BUDGETS))) == 21


class TestRateLimits:
    def test_create_and_change(self, world: World) -> None:
        body = {"scope": "team", "target": "Core", "unit": "requests", "limit": 600, "per": "minute"}
        row = world.alice.post(LIMITS, body, format="json").json()
        assert {name: row[name] for name in body} == body
        assert row["enforcement"] == "stop"
        change = {"limit": 60, "enforcement": "observe"}
        changed = world.alice.patch(f"{LIMITS}{row['id']}/", change, format="json").json()
        assert {name: changed[name] for name in change} == change
        assert len(results(world.alice.get(f"{LIMITS}?enforcement=observe"))) == 1
        at_once = {"scope": "team", "target": "Core", "unit": "concurrent", "limit": 5}
        assert world.alice.post(LIMITS, at_once, format="json").status_code == 201
        wrong = world.alice.post(LIMITS, {**at_once, "per": "minute"}, format="json")
        assert (wrong.status_code, list(wrong.json())) == (400, ["per"])
        assert [entry.action for entry in AuditEntry.objects.order_by("pk")] == [
            "rate_limit.created", "rate_limit.changed", "rate_limit.created",
        ]  # fmt: skip

    def test_who_sees(self, world: World) -> None:
        limit = RateLimit.objects.create(scope="team", team=world.web, unit="tokens", limit=1, per="day")
        assert len(results(world.alice.get(LIMITS))) == 1
        for outsider in (world.bob, world.charlie):
            assert results(outsider.get(LIMITS)) == []
            assert outsider.get(f"{LIMITS}{limit.pk}/").status_code == 404
            assert outsider.patch(f"{LIMITS}{limit.pk}/", {"limit": 2}, format="json").status_code == 404

    def test_permissions(self, world: World) -> None:
        reader = client_for(user_with("reader", "governance.view_ratelimit", customer=world.acme))
        body = {"scope": "team", "target": "Core", "unit": "concurrent", "limit": 5}
        assert reader.get(LIMITS).status_code == 200
        assert reader.post(LIMITS, body, format="json").status_code == 403
