"""How budgets stand and whether keys work, as people are told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import transaction

from governance import ledger
from governance.models import AllowanceWindow, Budget, Customer, Provider, ProviderAccess, Team, VirtualKey
from governance.selectors import budget_status, budgets_on, key_statuses, spent_by_key
from governance.services import budgets, keys, tenants

pytestmark = pytest.mark.django_db
USD = 10**9
NOW = datetime(2026, 11, 16, 0, tzinfo=UTC)
"""Half of November in UTC."""


@pytest.fixture
def team() -> Team:
    return tenants.create_team(customer=tenants.create_customer(name="Acme", actor=None), name="Core", actor=None)


@pytest.fixture
def key(team: Team) -> VirtualKey:
    return keys.issue_key(team=team, name="laptop", actor=None)[0]


def charge(key: VirtualKey, nano: int, at: datetime = NOW - timedelta(days=3), model: str = "claude-opus-5") -> None:
    charge.count += 1
    posting = ledger.Posting(
        id=f"{charge.count:026d}",
        occurred_at=at,
        customer_id=key.team.customer_id,
        team_id=key.team_id,
        project_id=key.project_id,
        developer_id=key.developer_id,
        virtual_key_id=key.pk,
        provider_access_id=None,
        model=model,
        amount_nano_usd=nano,
        tokens=100,
        price_id=None,
    )
    with transaction.atomic():
        ledger.post([posting])


charge.count = 0


def status_of(budget: Budget, now: datetime = NOW):
    return budget_status(Budget.objects.select_related("customer").get(pk=budget.pk), now)


def test_figures_add_up(team: Team, key: VirtualKey) -> None:
    budget = budgets.create_budget(target=team, limit_nano_usd=100 * USD, actor=None)
    charge(key, 30 * USD)
    AllowanceWindow.objects.filter(budget=budget).update(held=5 * USD)
    status = status_of(budget)
    assert (status.spent, status.held, status.remaining) == (30 * USD, 5 * USD, 65 * USD)
    assert status.forecast == 60 * USD
    assert (status.state, status.runs_out_at, status.mode) == ("ok", None, "Block")
    assert status.resets_at == datetime(2026, 12, 1, tzinfo=UTC)


def test_a_budget_that_will_run_out_says_when(team: Team, key: VirtualKey) -> None:
    budget = budgets.create_budget(target=team, limit_nano_usd=100 * USD, actor=None)
    charge(key, 75 * USD)
    status = status_of(budget)
    assert status.state == "at_risk"
    assert status.forecast == 150 * USD
    assert status.runs_out_at == datetime(2026, 11, 21, tzinfo=UTC)


def test_early_in_a_period_nothing_is_foretold(team: Team, key: VirtualKey) -> None:
    budget = budgets.create_budget(target=team, limit_nano_usd=100 * USD, actor=None)
    early = datetime(2026, 11, 1, 2, tzinfo=UTC)
    charge(key, 20 * USD, early - timedelta(hours=1))
    status = status_of(budget, early)
    assert (status.forecast, status.runs_out_at, status.state) == (None, None, "ok")


def test_used_up_blocks_or_only_tells(team: Team, key: VirtualKey) -> None:
    stop = budgets.create_budget(target=team, limit_nano_usd=10 * USD, actor=None)
    watch = budgets.create_budget(target=team, limit_nano_usd=10 * USD, enforcement="observe", actor=None)
    off = budgets.create_budget(target=team, limit_nano_usd=10 * USD, is_active=False, actor=None)
    charge(key, 12 * USD)
    assert [status_of(budget).state for budget in (stop, watch, off)] == ["blocked", "over", "off"]
    assert status_of(stop).remaining == 0
    zero = budgets.create_budget(target=team, limit_nano_usd=0, actor=None)
    assert (status_of(zero).state, status_of(zero).share) == ("blocked", 1.0)


def test_the_reset_stands_in_the_budgets_own_zone(team: Team) -> None:
    budget = budgets.create_budget(target=team, limit_nano_usd=USD, timezone="America/New_York", actor=None)
    assert status_of(budget).resets_on == "2026-12-01"
    assert status_of(budget).window.ends_at == datetime(2026, 12, 1, 5, tzinfo=UTC)
    rolling = budgets.create_budget(target=team, limit_nano_usd=USD, period="day", rolling=30, actor=None)
    assert status_of(rolling).resets_on == "rolls on"
    lifetime = budgets.create_budget(target=team, limit_nano_usd=USD, period="lifetime", actor=None)
    assert status_of(lifetime).resets_on == "never"


def test_a_key_is_told_about_every_budget_that_counts_it_and_no_other(team: Team) -> None:
    customer = team.customer
    developer = tenants.create_developer(customer=customer, team=team, email="a@acme.test", actor=None)
    project = tenants.create_project(customer=customer, name="billing", actor=None)
    key, _ = keys.issue_key(team=team, name="mine", developer=developer, project=project, actor=None)
    other, _ = keys.issue_key(team=team, name="other", actor=None)
    targets = [customer, team, developer, project, key]
    expected = {budgets.create_budget(target=target, limit_nano_usd=USD, actor=None).pk for target in targets}
    budgets.create_budget(target=other, limit_nano_usd=USD, actor=None)
    budgets.create_budget(target=tenants.create_customer(name="Globex", actor=None), limit_nano_usd=USD, actor=None)
    assert set(budgets_on([key]).values_list("pk", flat=True)) == expected
    statuses = key_statuses([key, other], NOW)
    assert {status.budget.pk for status in statuses[key.pk].budgets} == expected
    assert len(statuses[other.pk].budgets) == 3


def test_a_key_says_why_it_does_not_work_and_what_to_do(team: Team, key: VirtualKey) -> None:
    def status() -> tuple[str, str]:
        fresh = VirtualKey.objects.select_related("team__customer", "developer").get(pk=key.pk)
        found = key_statuses([fresh], NOW)[key.pk]
        return found.state, found.reason

    assert status() == ("works", "Works.")
    budgets.create_budget(target=team, name="Core month", limit_nano_usd=10 * USD, actor=None)
    charge(key, 10 * USD)
    state, reason = status()
    assert state == "blocked"
    assert "team budget “Core month” until 2026-12-01 00:00 UTC" in reason
    tenants.deactivate(tenant=team, actor=None)
    assert status()[0] == "off"
    assert "team Acme / Core" in status()[1]
    VirtualKey.objects.filter(pk=key.pk).update(expires_at=NOW)
    assert status()[0] == "expired"
    keys.revoke_key(key=key, reason="laptop lost", actor=None)
    assert status()[0] == "revoked"
    assert "laptop lost" in status()[1]


def test_a_key_of_which_a_part_is_blocked_works_partly(team: Team, key: VirtualKey) -> None:
    def status() -> tuple[str, str]:
        found = key_statuses([VirtualKey.objects.select_related("team__customer", "developer").get(pk=key.pk)], NOW)
        return found[key.pk].state, found[key.pk].reason

    opus = budgets.create_budget(
        target=team, name="Opus", limit_nano_usd=0, model_patterns=["claude-opus-*"], actor=None
    )
    state, reason = status()
    assert (state, "for claude-opus-* by team budget “Opus”" in reason) == ("partly", True)
    assert reason.endswith("Everything else works.")
    VirtualKey.objects.filter(pk=key.pk).update(model_patterns=["claude-opus-5"])
    assert status()[0] == "blocked"
    VirtualKey.objects.filter(pk=key.pk).update(model_patterns=["claude-opus-5", "claude-haiku-*"])
    assert status()[0] == "partly"
    Budget.objects.filter(pk=opus.pk).update(is_active=False)

    first, second = (
        Provider.objects.create(name=name, kind="anthropic", base_url="https://api.anthropic.com")
        for name in ("north", "south")
    )
    access = ProviderAccess.objects.create(virtual_key=key, provider=first)
    budgets.create_budget(target=access, limit_nano_usd=0, actor=None)
    assert status()[0] == "blocked"
    ProviderAccess.objects.create(virtual_key=key, provider=second)
    state, reason = status()
    assert (state, "through north" in reason) == ("partly", True)
    budgets.create_budget(target=team, limit_nano_usd=0, actor=None)
    assert status()[0] == "blocked"
    assert "through north" not in status()[1]


def test_spend_of_keys_counts_from_the_moment_given(team: Team, key: VirtualKey) -> None:
    charge(key, 5 * USD)
    charge(key, 7 * USD, NOW - timedelta(days=20))
    assert spent_by_key([key], datetime(2026, 11, 1, tzinfo=UTC)) == {key.pk: 5 * USD}
    assert Customer.objects.count() == 1
