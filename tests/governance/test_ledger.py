"""The ledger on the real database: charges once, windows that follow from time stamps, budgets that come later."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import transaction
from ulid import ULID

from governance import ledger
from governance.domain.allowance import WindowState
from governance.ledger import Posting
from governance.models import AllowanceWindow, Budget, Customer, KeyActivity, LedgerEntry, Team, VirtualKey

pytestmark = pytest.mark.django_db(transaction=True)
USD = 1_000_000_000
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.fixture
def key() -> VirtualKey:
    customer = Customer.objects.create(name="Acme", timezone="Europe/Berlin")
    team = Team.objects.create(customer=customer, name="Core")
    return VirtualKey.objects.create(team=team, name="ada")


def posting(key: VirtualKey, amount: int, at: datetime = NOW, model: str = "claude-opus-5-5") -> Posting:
    return Posting(
        id=str(ULID()),
        occurred_at=at,
        customer_id=key.team.customer_id,
        team_id=key.team_id,
        project_id=None,
        developer_id=None,
        virtual_key_id=key.pk,
        provider_access_id=None,
        model=model,
        amount_nano_usd=amount,
        tokens=10,
        price_id=None,
    )


def post(*postings: Posting) -> list[WindowState]:
    with transaction.atomic():
        return ledger.post(postings)


def settled(budget: Budget, now: datetime = NOW) -> int:
    return ledger.figures(now)[budget.pk].settled


def test_a_batch_moves_every_budget_it_counts_in(key: VirtualKey) -> None:
    team = Budget.objects.create(scope="team", team=key.team, limit_nano_usd=USD)
    narrowed = Budget.objects.create(scope="team", team=key.team, limit_nano_usd=USD, model_patterns=["claude-haiku-*"])
    own = Budget.objects.create(scope="virtual_key", virtual_key=key, limit_nano_usd=USD, period="day")
    states = post(posting(key, 5), posting(key, 7), posting(key, 11, model="claude-haiku-5-5"))
    assert {state.budget_id: (state.settled, state.posted) for state in states} == {
        team.pk: (23, 23),
        narrowed.pk: (11, 11),
        own.pk: (23, 23),
    }
    assert (settled(team), settled(narrowed), settled(own)) == (23, 11, 23)


def test_a_replay_changes_nothing(key: VirtualKey) -> None:
    budget = Budget.objects.create(scope="team", team=key.team, limit_nano_usd=USD)
    charge = posting(key, 5)
    post(charge)
    # Who posts again may not know that the first try was committed: it learns that nothing is left to write.
    assert [(state.settled, state.posted) for state in post(charge, charge)] == [(5, 5)]
    assert LedgerEntry.objects.count() == 1
    assert settled(budget) == 5


def test_a_budget_made_later_counts_what_was_spent_before(key: VirtualKey) -> None:
    post(posting(key, 5), posting(key, 6, at=NOW - timedelta(days=40)))
    budget = Budget.objects.create(scope="team", team=key.team, limit_nano_usd=USD)
    assert settled(budget) == 5
    post(posting(key, 7))
    assert settled(budget) == 12
    assert AllowanceWindow.objects.get(budget=budget).settled == 12


def test_what_a_budget_counts_can_change_in_the_middle_of_a_period(key: VirtualKey) -> None:
    budget = Budget.objects.create(scope="team", team=key.team, limit_nano_usd=USD)
    post(posting(key, 5), posting(key, 7, model="claude-haiku-5-5"))
    budget.model_patterns = ["claude-opus-*"]
    budget.save()
    assert settled(budget) == 5
    post(posting(key, 1), posting(key, 100, model="claude-haiku-5-5"))
    assert settled(budget) == 6


def test_a_charge_counts_in_the_period_in_which_its_request_started(key: VirtualKey) -> None:
    budget = Budget.objects.create(scope="customer", customer=key.team.customer, limit_nano_usd=USD, period="day")
    midnight = datetime(2026, 11, 21, 23, 0, tzinfo=UTC)  # 00:00 in Berlin
    post(posting(key, 3, at=midnight - timedelta(microseconds=1)), posting(key, 4, at=midnight))
    assert settled(budget, midnight - timedelta(seconds=1)) == 3
    assert settled(budget, midnight) == 4


def test_a_rolling_budget_forgets_by_time(key: VirtualKey) -> None:
    budget = Budget.objects.create(scope="team", team=key.team, limit_nano_usd=USD, period="day", rolling=7)
    post(posting(key, 3, at=NOW - timedelta(days=6)), posting(key, 4))
    assert settled(budget) == 7
    assert settled(budget, NOW + timedelta(days=2)) == 4
    # Its row has no end: what it says is an upper bound until the sum is taken anew.
    assert AllowanceWindow.objects.get(budget=budget).settled == 7


def test_idle_budgets_are_summed_together(key: VirtualKey, django_assert_max_num_queries: Any) -> None:
    keys = [VirtualKey.objects.create(team=key.team, name=f"k{number}") for number in range(20)]
    budgets = {
        each.pk: Budget.objects.create(scope="virtual_key", virtual_key=each, limit_nano_usd=USD, **values)
        for number, each in enumerate(keys)
        for values in [{}, {"model_patterns": ["claude-opus-*"]}, {"period": "day", "rolling": 7}][number % 3 :][:1]
    }
    post(*(posting(each, number, model="claude-opus-5-5") for number, each in enumerate(keys)), posting(keys[1], 100))
    post(posting(keys[1], 7, model="claude-haiku-5-5"), posting(keys[2], 7, at=NOW - timedelta(days=8)))
    AllowanceWindow.objects.all().delete()
    with django_assert_max_num_queries(6):
        figures = ledger.figures(NOW)
    assert [figures[budgets[each.pk].pk].settled for each in keys] == [0, 101, *range(2, 20)]


def test_windows_can_be_made_anew_from_the_ledger(key: VirtualKey) -> None:
    budget = Budget.objects.create(scope="team", team=key.team, limit_nano_usd=USD)
    post(posting(key, 5))
    AllowanceWindow.objects.all().delete()
    assert settled(budget) == 5
    post(posting(key, 6))
    assert settled(budget) == 11


def test_last_use_never_goes_back(key: VirtualKey) -> None:
    ledger.touch_keys({key.pk: (NOW, "claude-cli/2.1.330"), 10**9: (NOW, "a key that is gone")})
    ledger.touch_keys({key.pk: (NOW - timedelta(hours=1), "older")})
    activity = KeyActivity.objects.get()
    assert (activity.last_used_at, activity.client) == (NOW, "claude-cli/2.1.330")
