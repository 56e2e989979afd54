"""Two customers in one installation, and three people: Alice and her teammate Bob at Acme, Charlie at Globex."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask
from ulid import ULID

from governance.domain.keys import Secret
from governance.models import (
    Alert,
    AlertChannel,
    AlertDelivery,
    Budget,
    Customer,
    Developer,
    GatewayProcess,
    ModelAlias,
    Price,
    PriceOverride,
    PriceProposal,
    Project,
    Provider,
    Raise,
    RateLimit,
    ReconciliationDay,
    ReconciliationException,
    ReportImport,
    Repricing,
    RoutingRule,
    RoutingSettings,
    Team,
    VirtualKey,
    Workspace,
)
from governance.services import budgets, keys, providers, tenants
from observability.models import HourlyUsage, LogExport, Request


@dataclass(frozen=True)
class Tenant:
    """One customer with one of everything."""

    customer: Customer
    team: Team
    project: Project
    developer: Developer
    key: VirtualKey
    secret: Secret
    budget: Budget
    rate_limit: RateLimit

    @property
    def rows(self) -> list[object]:
        return [self.customer, self.team, self.project, self.developer, self.key, self.budget, self.rate_limit]


def make_tenant(name: str) -> Tenant:
    customer = tenants.create_customer(name=name, actor=None)
    team = tenants.create_team(customer=customer, name=f"{name} core", actor=None)
    project = tenants.create_project(customer=customer, team=team, name=f"{name} billing", actor=None)
    developer = tenants.create_developer(
        customer=customer, team=team, email=f"ada@{name.lower()}.test", name=f"{name} Ada", actor=None
    )
    key, secret = keys.issue_key(team=team, name=f"{name}-laptop", developer=developer, project=project, actor=None)
    budget = budgets.create_budget(target=team, limit_nano_usd=100 * 10**9, name=f"{name} budget", actor=None)
    Raise.objects.create(
        budget=budget, budget_name=str(budget), customer=customer, team=team, amount_nano_usd=10**9, reason="a test",
        requester_name="somebody", starts_at=timezone.now(), ends_at=timezone.now() + timedelta(days=1),
    )  # fmt: skip
    rate_limit = budgets.create_rate_limit(target=key, unit="requests", limit=60, per="minute", actor=None)
    return Tenant(customer, team, project, developer, key, secret, budget, rate_limit)


def sign_in(name: str, *, role: str | None, customer: Customer | None = None, team: Team | None = None) -> Client:
    """A client signed in as a member of staff with a role; without a role as a superuser."""
    if role is None:
        user = User.objects.create_superuser(name)
    else:
        user = User.objects.create_user(name, is_staff=True)
        user.groups.add(Group.objects.get(name=role))
    if customer is not None:
        tenants.add_membership(user=user, customer=customer, team=team, actor=None)
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def acme(db: None) -> Tenant:
    return make_tenant("Acme")


@pytest.fixture
def globex(db: None) -> Tenant:
    return make_tenant("Globex")


@pytest.fixture
def root(db: None) -> Client:
    return sign_in("root", role=None)


@pytest.fixture
def alice(acme: Tenant) -> Client:
    """Platform admin of Acme: may do most, and only there."""
    return sign_in("alice", role="Platform admin", customer=acme.customer)


@pytest.fixture
def bob(acme: Tenant) -> Client:
    """Team lead of Alice's team."""
    return sign_in("bob", role="Team lead", customer=acme.customer, team=acme.team)


@pytest.fixture
def charlie(globex: Tenant) -> Client:
    """Platform admin of the other customer."""
    return sign_in("charlie", role="Platform admin", customer=globex.customer)


@pytest.fixture
def installation(db: None) -> dict[str, object]:
    """What belongs to no customer: a provider with a credential, a price, a proposal, and some traffic."""
    provider = Provider.objects.create(name="anthropic", kind="anthropic", base_url="https://api.anthropic.com")
    credential = providers.create_credential(provider=provider, secret="sk-ant-api03-not-to-be-seen", actor=None)
    price = Price.objects.create(
        model_id="claude-test", effective_from=datetime(2026, 1, 1, tzinfo=UTC), input=5, output=25,
        cache_read="0.5", cache_write_5m="6.25", cache_write_1h=10,
        tiers=[{"above_prompt_tokens": 100000, "input": "10"}], multipliers={"fast": "6"},
    )  # fmt: skip
    RoutingRule.objects.create(name="haiku", condition="turns > 3", targets=[{"model": "claude-haiku-5-5"}])
    RoutingSettings.objects.create()
    proposal = PriceProposal.objects.create(
        platform="anthropic", model_id="claude-test", current=price, effective_from=datetime(2026, 2, 1, tzinfo=UTC),
        proposed={"input": "4"}, changes=[{"field": "input", "old": "5", "new": "4", "percent": "-20.00"}],
        source="https://prices.test/",
    )  # fmt: skip
    interval = IntervalSchedule.objects.create(every=1, period="hours")
    CrontabSchedule.objects.create(minute="5")
    PeriodicTask.objects.create(name="hourly", task="governance.tasks.refresh_prices", interval=interval)
    morning, noon = datetime(2026, 2, 1, 9, tzinfo=UTC), datetime(2026, 2, 1, 12, tzinfo=UTC)
    Request.objects.create(id=str(ULID()), started_at=morning, finished_at=morning, status="success", http_status=200)
    GatewayProcess.objects.create(id=str(ULID()), host="gw-1", pid=4711, started_at=morning, seen_at=noon)
    Workspace.objects.create(credential=credential, workspace_id="wrkspc_1")
    ReportImport.objects.create(
        source="api", kind="cost", first_day=morning.date(), last_day=morning.date(), imported_at=noon, sha256="0" * 64
    )
    ReconciliationDay.objects.create(day=morning.date(), compared_at=noon)
    ReconciliationException.objects.create(day=morning.date(), opened_at=noon)
    HourlyUsage.objects.create(hour=morning, status="success", requests=1)
    LogExport.objects.create(starts_at=morning, ends_at=noon)
    payer = Customer.objects.create(name="Payer")
    PriceOverride.objects.create(customer=payer, percent="-10", effective_from=morning)
    ModelAlias.objects.create(alias="arn:aws:bedrock:x:1:application-inference-profile/y", model_id="claude-test")
    Repricing.objects.create(
        customer=payer, starts_at=morning, ends_at=noon, reason="contract",
        requested_by=User.objects.create_user("asker"),
    )  # fmt: skip
    channel = AlertChannel.objects.create(name="ops", emails=["ops@payer.test"])
    alert = Alert.objects.create(
        key="a", kind="unpriced", created_at=noon, customer=payer, customer_name="Payer", model="claude-test",
        period_start=morning, requests=1, tokens=5, spent_nano_usd=1,
    )  # fmt: skip
    AlertDelivery.objects.create(
        alert=alert, channel=channel, kind="email", destination="ops@payer.test", created_at=noon
    )
    return {"provider": provider, "credential": credential, "price": price, "proposal": proposal}
