"""Budgets in the admin: a tree, one target each, amounts in USD."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.contrib import messages
from django.test import Client
from django.urls import reverse

from governance.admin.budget_tree import arrange
from governance.admin.limits import verdict
from governance.catalog import seed_prices
from governance.models import Budget, RateLimit
from governance.selectors import budget_status, budget_statuses
from governance.services import budgets, tenants
from tests.governance.admin.conftest import Tenant

USD = 10**9
LIST = "admin:governance_budget_changelist"
ADD = "admin:governance_budget_add"
NOW = datetime(2026, 11, 16, tzinfo=UTC)


def form(**values: object) -> dict[str, object]:
    return {
        "limit_nano_usd": "500", "period": "month", "enforcement": "stop", "alerts": "50, 80%", "is_active": "on",
        "name": "", "model_patterns": "", "rolling": "0", "timezone": "", "week_start": "0", "fiscal_start_month": "1",
        **values,
    }  # fmt: skip


def test_a_budget_is_typed_in_usd_and_stored_in_nano_dollars(root: Client, acme: Tenant) -> None:
    response = root.post(reverse(ADD), form(scope="team", team=acme.team.pk, limit_nano_usd="500.25"))
    assert response.status_code == 302
    budget = Budget.objects.get(limit_nano_usd=500_250_000_000)
    assert (budget.team, budget.customer, budget.alerts) == (acme.team, acme.customer, [50, 80])
    assert 'value="500.25"' in root.get(reverse("admin:governance_budget_change", args=[budget.pk])).content.decode()


def test_what_a_hidden_input_still_holds_does_not_count(root: Client, acme: Tenant, globex: Tenant) -> None:
    left_over = form(
        scope="virtual_key", virtual_key=acme.key.pk, customer=globex.customer.pk, project=globex.project.pk
    )
    assert root.post(reverse(ADD), left_over).status_code == 302
    budget = Budget.objects.get(scope="virtual_key")
    assert (budget.customer, budget.team, budget.project) == (acme.customer, acme.team, None)


@pytest.mark.parametrize(
    ("values", "field", "message"),
    [
        ({"scope": "team"}, "team", "Choose the team"),
        ({"scope": "customer", "limit_nano_usd": "-1"}, None, "must not be negative"),
        ({"scope": "customer", "limit_nano_usd": "1.0000000001"}, "limit_nano_usd", "decimal places"),
        ({"scope": "customer", "alerts": "half"}, "alerts", "whole percentages"),
        ({"scope": "customer", "timezone": "Mars/Olympus"}, "timezone", "is not a time zone"),
        ({"scope": "customer", "model_patterns": "claude opus!"}, "model_patterns", "is not a model id"),
        ({"scope": "customer", "model_patterns": "claude opus 4"}, "model_patterns", "claude opus 4"),
        ({"scope": "customer", "model_patterns": "*opus["}, "model_patterns", "without its other half"),
        ({"scope": "customer", "fiscal_start_month": "13"}, None, "between 1 and 12"),
    ],
)
def test_what_is_wrong_is_said_beside_the_field(
    root: Client, acme: Tenant, values: dict[str, str], field: str | None, message: str
) -> None:
    before = Budget.objects.count()
    target = {} if values["scope"] == "team" else {"customer": acme.customer.pk}
    response = root.post(reverse(ADD), form(**target, **values))
    assert response.status_code == 200
    assert message in str(response.context["adminform"].form.errors.get(field or "__all__"))
    assert Budget.objects.count() == before


def test_the_target_stays(root: Client, acme: Tenant, globex: Tenant) -> None:
    url = reverse("admin:governance_budget_change", args=[acme.budget.pk])
    assert root.post(url, form(scope="team", team=globex.team.pk, name="kept", change_reason="more")).status_code == 302
    acme.budget.refresh_from_db()
    assert (acme.budget.team, acme.budget.name) == (acme.team, "kept")


def test_a_rate_limit_needs_a_period_that_fits(root: Client, acme: Tenant) -> None:
    url = reverse("admin:governance_ratelimit_add")
    wrong = {
        "scope": "team",
        "team": acme.team.pk,
        "unit": "concurrent",
        "limit": "5",
        "per": "minute",
        "is_active": "on",
    }
    assert "requests at once have none" in root.post(url, wrong).content.decode()
    assert root.post(url, wrong | {"per": ""}).status_code == 302
    assert RateLimit.objects.get(unit="concurrent").limit == 5


def test_the_list_is_a_tree_with_the_riskiest_branch_first(acme: Tenant, globex: Tenant) -> None:
    Budget.objects.all().delete()
    made = {
        name: budgets.create_budget(target=target, limit_nano_usd=limit * USD, name=name, actor=None)
        for name, target, limit in (
            ("acme", acme.customer, 100), ("acme team", acme.team, 900), ("acme key", acme.key, 5),
            ("globex", globex.customer, 100), ("globex key", globex.key, 0), ("project", acme.project, 50),
        )
    }  # fmt: skip
    leaves = arrange(list(budget_statuses(Budget.objects.select_related("customer"), NOW).values()))
    assert [leaf.status.budget.name for leaf in leaves] == [
        "globex", "globex key", "acme", "acme team", "project", "acme key",
    ]  # fmt: skip
    assert [leaf.depth for leaf in leaves] == [0, 2, 0, 1, 1, 2]
    assert {leaf.status.budget.name: leaf.warning for leaf in leaves if leaf.warning} == {
        "acme team": "Its limit is above that of acme, which blocks first."
    }
    assert made["acme"].pk


def test_the_list_shows_every_figure_and_who_has_no_budget(root: Client, acme: Tenant) -> None:
    tenants.create_customer(name="Initech", actor=None)
    html = root.get(reverse(LIST)).content.decode()
    for heading in ("Spent", "Held", "Forecast", "Limit", "Remaining", "Runs out", "Mode", "Resets"):
        assert heading in html
    assert "0 of 100.00 · 0%" in html
    assert "No budget, so spend is unlimited" in html
    assert "Initech" in html
    assert "cmp-bar__track" in html


def test_the_verdict_says_what_happens_when(acme: Tenant) -> None:
    def said(**changes: object) -> str:
        Budget.objects.filter(pk=acme.budget.pk).update(**changes)
        return verdict(budget_status(Budget.objects.select_related("customer").get(pk=acme.budget.pk), NOW))

    assert said() == "$100.00 left. It resets on 2026-12-01 00:00 (UTC)."
    assert said(limit_nano_usd=0).startswith("Requests are refused. It resets on 2026-12-01")
    assert said(enforcement="observe").startswith("Requests go on.")
    assert said(period="day", rolling=30).endswith("It looks back over the last 30 days.")
    assert said(is_active=False) == "It limits nothing."


def test_a_pattern_that_fits_no_priced_model_is_pointed_out(root: Client, acme: Tenant) -> None:
    seed_prices()

    def told(patterns: str) -> list[str]:
        data = form(scope="team", team=acme.team.pk, model_patterns=patterns)
        response = root.post(reverse(ADD), data, follow=True)
        return [str(message) for message in response.context["messages"] if message.level == messages.WARNING]

    assert told("claude-opus-*") == told("") == []
    (warning,) = told("claude-*\nopus-5")
    assert "opus-5" in warning
    assert "claude-*" not in warning


def test_a_named_budget_says_what_it_is_for(root: Client, acme: Tenant) -> None:
    page = root.get(reverse(LIST)).content.decode()
    assert "Acme budget" in page
    assert "Team Acme core · Month" in page


@pytest.mark.parametrize(("period", "starts"), [("month", "-01 00:00 (Europe/Berlin)"), ("lifetime", "the beginning")])
def test_the_period_is_in_the_zone_of_the_budget(root: Client, acme: Tenant, period: str, starts: str) -> None:
    budget = budgets.create_budget(
        target=acme.team, limit_nano_usd=USD, period=period, timezone="Europe/Berlin", actor=None
    )
    page = root.get(reverse("admin:governance_budget_change", args=[budget.pk])).content.decode()
    facts = page.split("Period from")[1].split("</div>")[0]
    assert starts in facts
