"""Budgets in the admin: a tree, one target each, amounts in USD."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib import messages
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from ulid import ULID

from governance import ledger
from governance.admin.budget_tree import arrange
from governance.admin.limits import verdict
from governance.catalog import seed_prices
from governance.models import AllowanceWindow, AuditEntry, Budget, GatewayProcess, Lease, Raise, RateLimit
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
        "enforcement": "stop",
        "is_active": "on",
    }
    assert "leave the period out" in root.post(url, wrong).content.decode()
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


LADDER = {
    "downgrade_at": "80", "downgrade": "claude-opus-* -> claude-sonnet-5\nclaude-fable-* → claude-haiku-4-5",
    "throttle_at": "90", "throttle_concurrent": "3",
}  # fmt: skip


def test_a_ladder_is_typed_as_pairs_and_shown_where_it_counts(root: Client, acme: Tenant) -> None:
    seed_prices()
    typed = form(scope="team", team=acme.team.pk, name="laddered", carry_over="on", **LADDER)
    typed |= {"owner_email": "ada@acme.test", "approver_email": "fay@acme.test"}
    assert root.post(reverse(ADD), typed).status_code == 302
    budget = Budget.objects.get(name="laddered")
    assert (budget.downgrade_at, budget.throttle_at, budget.throttle_concurrent) == (80, 90, 3)
    assert budget.downgrade == {"claude-opus-*": "claude-sonnet-5", "claude-fable-*": "claude-haiku-4-5"}
    assert (budget.carry_over, budget.owner_email, budget.approver_email) == (True, "ada@acme.test", "fay@acme.test")
    listed = root.get(reverse(LIST)).content.decode()
    assert "Month · 80 % cheaper · 90 % throttled" in listed
    url = reverse("admin:governance_budget_change", args=[budget.pk])
    assert (
        "claude-fable-* -&gt; claude-haiku-4-5\nclaude-opus-* -&gt; claude-sonnet-5" in root.get(url).content.decode()
    )
    # Saved again unchanged it leaves no entry, and taken away it is gone.
    before = AuditEntry.objects.count()
    assert root.post(url, typed).status_code == 302
    assert AuditEntry.objects.count() == before
    gone = typed | {"downgrade_at": "", "downgrade": "", "throttle_at": "", "throttle_concurrent": ""}
    assert root.post(url, gone).status_code == 302
    budget.refresh_from_db()
    assert (budget.downgrade_at, budget.downgrade, budget.throttle_at, budget.throttle_concurrent) == (
        None, {}, None, 1,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("values", "field", "message"),
    [
        ({"downgrade": ""}, "downgrade", "Say which model takes the place of which"),
        ({"downgrade_at": ""}, "downgrade_at", "Say from which percentage"),
        ({"downgrade": "claude-opus-*"}, "downgrade", "is no pair"),
        ({"downgrade": "a -> b\na -> c"}, "downgrade", "named twice"),
        ({"downgrade": "a -> claude-*"}, "downgrade", "a pattern cannot be sent"),
        ({"downgrade_at": "0"}, "downgrade_at", "from 1 to 99"),
        ({"downgrade_at": "100"}, "downgrade_at", "at 100 the budget itself refuses"),
        ({"throttle_at": "101", "enforcement": "observe"}, "throttle_at", "from 1 to 100."),
        ({"throttle_at": "80"}, "throttle_at", "Cheaper models come first, at 80 %"),
        ({"throttle_concurrent": "0"}, "throttle_concurrent", "at least 1"),
        ({"carry_over": "on", "rolling": "30", "period": "day"}, "carry_over", "rolling budget has no next period"),
        ({"carry_over": "on", "period": "lifetime"}, "carry_over", "lifetime budget has no next period"),
        ({"owner_email": "ada"}, "owner_email", "valid email"),
    ],
)
def test_a_ladder_that_makes_no_sense_is_refused_beside_its_field(
    root: Client, acme: Tenant, values: dict[str, str], field: str, message: str
) -> None:
    before = Budget.objects.count()
    response = root.post(reverse(ADD), form(scope="team", team=acme.team.pk, **{**LADDER, **values}))
    assert response.status_code == 200
    assert message in str(response.context["adminform"].form.errors.get(field))
    assert Budget.objects.count() == before


def test_a_cheaper_model_without_a_price_is_pointed_out(root: Client, acme: Tenant) -> None:
    seed_prices()
    typed = form(scope="team", team=acme.team.pk, **{**LADDER, "downgrade": "claude-opus-* -> claude-nought-9"})
    page = root.post(reverse(ADD), typed, follow=True)
    assert [str(m) for m in page.context["messages"] if m.level == messages.WARNING] == [
        "claude-nought-9 is not in the price list: requests would be sent to a model without a price."
    ]


def test_a_picker_names_a_key_with_its_team(root: Client, alice: Client, acme: Tenant, globex: Tenant) -> None:
    asked = {"app_label": "governance", "model_name": "budget", "field_name": "virtual_key"}
    for client, expected in (
        (root, {"Acme-laptop (Acme / Acme core)", "Globex-laptop (Globex / Globex core)"}),
        (alice, {"Acme-laptop (Acme / Acme core)"}),
    ):
        found = client.get(reverse("admin:autocomplete"), asked).json()["results"]
        assert {one["text"] for one in found} == expected
    # What was chosen is still named so when the form comes back, and in the list and page of limits.
    again = root.post(reverse(ADD), form(scope="virtual_key", virtual_key=acme.key.pk, alerts="half"))
    assert "Acme-laptop (Acme / Acme core)" in again.content.decode()
    assert (
        "Acme-laptop (Acme / Acme core)" in root.get(reverse("admin:governance_ratelimit_changelist")).content.decode()
    )


def test_the_list_of_budgets_takes_the_same_queries_whatever_its_size(root: Client, acme: Tenant) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert root.get(reverse(LIST)).status_code == 200
        return len(captured)

    root.get(reverse(LIST))
    before = queries()
    for target in (acme.team, acme.key, acme.developer, acme.project) * 3:
        budgets.create_budget(target=target, limit_nano_usd=USD, carry_over=True, throttle_at=90, actor=None)
    # What the period before left over is read once for all that carry over.
    assert queries() <= before + 4


@pytest.mark.parametrize("way", ["page", "action"])
def test_deleting_a_budget_does_not_speak_of_its_counters(root: Client, acme: Tenant, way: str) -> None:
    window = AllowanceWindow.objects.create(
        allowance=f"budget:{acme.budget.pk}", budget=acme.budget, definition=ledger.definition(acme.budget),
        starts_at=NOW, limit=100 * USD, held=5 * USD,
    )  # fmt: skip
    lease = Lease.objects.create(window=window, owner=str(ULID()), amount=5 * USD)
    if way == "page":
        url, chosen = reverse("admin:governance_budget_delete", args=[acme.budget.pk]), {}
    else:
        url, chosen = reverse(LIST), {"action": "delete_selected", "_selected_action": [acme.budget.pk]}
    answer = root.post(url, chosen) if chosen else root.get(url)
    page = answer.content.decode().lower()
    assert answer.status_code == 200
    assert str(acme.budget).lower() in page
    for word in ("allowance window", "lease", f"budget:{acme.budget.pk}", lease.owner.lower()):
        assert word not in page
    assert root.post(url, {**chosen, "post": "yes"}).status_code == 302
    assert not Budget.objects.filter(pk=acme.budget.pk).exists()
    assert not Lease.objects.exists()


def test_the_page_of_a_budget_shows_who_holds_what(root: Client, bob: Client, acme: Tenant) -> None:
    acme.budget.refresh_from_db()
    start = budget_status(acme.budget, timezone.now()).window.starts_at
    window = AllowanceWindow.objects.create(
        allowance=f"budget:{acme.budget.pk}", budget=acme.budget, definition=ledger.definition(acme.budget),
        starts_at=start, limit=100 * USD, settled=0, held=7 * USD,
    )  # fmt: skip
    process = GatewayProcess.objects.create(id=str(ULID()), host="gw-7", pid=42, started_at=start, seen_at=start)
    Lease.objects.create(window=window, owner=process.pk, amount=5 * USD)
    Lease.objects.create(window=window, owner=str(ULID()), amount=2 * USD)
    url = reverse("admin:governance_budget_change", args=[acme.budget.pk])
    page = root.get(url).content.decode()
    assert (
        f'href="{reverse("admin:governance_gatewayprocess_change", args=[process.pk])}">gw-7 process 42</a> 5.00'
        in page
    )
    assert "a gateway process 2.00" in page
    assert "lies above the limit" not in page
    # A team lead sees that it is held, not on which machine.
    assert "gw-7" not in bob.get(url).content.decode()
    Budget.objects.filter(pk=acme.budget.pk).update(limit_nano_usd=3 * USD)
    page = root.get(url).content.decode()
    assert "$4.00 lies above the limit because requests that were running when it was reached could finish" in page
    Budget.objects.filter(pk=acme.budget.pk).update(enforcement="hard")
    assert "because the limit was lowered below what was spent" in root.get(url).content.decode()


def test_a_limit_that_only_watches_is_made_and_said(root: Client, acme: Tenant) -> None:
    typed = {
        "scope": "team", "team": acme.team.pk, "unit": "tokens", "limit": "1000", "per": "minute",
        "enforcement": "observe", "is_active": "on",
    }  # fmt: skip
    assert root.post(reverse("admin:governance_ratelimit_add"), typed).status_code == 302
    assert RateLimit.objects.get(unit="tokens").enforcement == "observe"
    assert "Watch" in root.get(reverse("admin:governance_ratelimit_changelist")).content.decode()
    without = root.post(reverse("admin:governance_ratelimit_add"), typed | {"per": ""})
    assert "so many tokens per second, minute" in without.content.decode()


def test_a_reserve_is_typed_in_usd(root: Client, acme: Tenant) -> None:
    typed = {
        "name": "Acme", "contact": "", "is_active": "on", "timezone": "UTC", "currency_display": "USD",
        "content_policy": "off", "unpriced_policy": "charge", "emergency_reserve_nano_usd": "250.5",
        "memberships-TOTAL_FORMS": "0", "memberships-INITIAL_FORMS": "0",
    }  # fmt: skip
    assert root.post(reverse("admin:governance_customer_change", args=[acme.customer.pk]), typed).status_code == 302
    acme.customer.refresh_from_db()
    assert acme.customer.emergency_reserve_nano_usd == 250_500_000_000


def test_the_limit_in_force_is_what_counts(root: Client, acme: Tenant) -> None:
    now = timezone.now()
    above = budgets.create_budget(target=acme.customer, limit_nano_usd=90 * USD, name="whole", actor=None)

    def warning() -> str:
        leaves = arrange(list(budget_statuses(Budget.objects.select_related("customer"), now).values()))
        return next(leaf.warning for leaf in leaves if leaf.status.budget == acme.budget)

    def picked() -> set[str]:
        asked = {"app_label": "governance", "model_name": "raise", "field_name": "budget"}
        return {one["text"] for one in root.get(reverse("admin:autocomplete"), asked).json()["results"]}

    assert warning() == "Its limit is above that of whole, which blocks first."
    assert picked() == {"Acme budget: $100.00", "whole: $90.00"}
    Raise.objects.create(
        budget=above, budget_name="whole", customer=acme.customer, amount_nano_usd=20 * USD, reason="a test",
        requester_name="somebody", status="approved", decided_by_name="fay", starts_at=now - timedelta(hours=1),
        ends_at=now + timedelta(days=1),
    )  # fmt: skip
    assert warning() == ""
    assert picked() == {"Acme budget: $100.00", "whole: $110.00"}
    shown = root.get(reverse("admin:governance_raise_add"), {"budget": above.pk}).content.decode()
    assert "whole: $110.00" in shown
    Raise.objects.all().delete()
    Budget.objects.filter(pk=above.pk).update(enforcement="observe")
    assert warning() == ""


def test_a_hard_budget_near_its_limit_is_marked_in_the_list(root: Client, acme: Tenant) -> None:
    told = "A request may be refused when it could cost more than the $5.00 left."
    Budget.objects.filter(pk=acme.budget.pk).update(limit_nano_usd=5 * USD)
    assert told not in root.get(reverse(LIST)).content.decode()
    Budget.objects.filter(pk=acme.budget.pk).update(enforcement="hard")
    assert told in root.get(reverse(LIST)).content.decode()
    assert told in root.get(reverse("admin:governance_budget_change", args=[acme.budget.pk])).content.decode()


def test_who_is_under_the_customers_budget_is_not_unlimited(root: Client, acme: Tenant, globex: Tenant) -> None:
    Budget.objects.all().delete()
    pages = [reverse(f"admin:governance_{kind}_changelist") for kind in ("developer", "team", "project")]
    for address in pages:
        assert root.get(address).content.decode().count("No budget: unlimited") == 2, address
    budgets.create_budget(target=acme.customer, limit_nano_usd=100 * USD, name="whole of Acme", actor=None)
    for address in pages:
        seen = root.get(address).content.decode()
        assert seen.count("No budget: unlimited") == 1, address
        assert seen.count("whole of Acme") == 1, address
