"""A team with a budget, a mail server and a receiver of webhooks, all real."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import transaction

from governance import ledger
from governance.domain.ids import new_ulid
from governance.models import Budget, Customer, Team, VirtualKey
from tests.fakes.mail import MailServer, mail_server
from tests.fakes.receiver import Receiver, receiver

USD = 1_000_000_000
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
Spend = Callable[..., None]


@pytest.fixture
def mail(settings: Any) -> Iterator[MailServer]:
    """The product's mail goes through its real backend to a server here."""
    with mail_server() as server:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
        settings.DEFAULT_FROM_EMAIL = "Comptroller <alerts@example.test>"
        yield server


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


@pytest.fixture
def key(db: None) -> VirtualKey:
    customer = Customer.objects.create(name="Acme", timezone="Europe/Berlin", contact="finance@acme.test")
    team = Team.objects.create(customer=customer, name="Core")
    return VirtualKey.objects.create(team=team, name="ada")


@pytest.fixture
def budget(key: VirtualKey) -> Budget:
    return Budget.objects.create(
        scope="team", team=key.team, limit_nano_usd=100 * USD, alerts=[50, 80, 95, 100],
        owner_email="owner@acme.test", approver_email="boss@acme.test",
    )  # fmt: skip


@pytest.fixture
def spend(key: VirtualKey) -> Spend:
    def charge(usd: float, at: datetime = NOW, of: VirtualKey = key) -> None:
        posting = ledger.Posting(
            id=new_ulid(), occurred_at=at, customer_id=of.team.customer_id, team_id=of.team_id, project_id=None,
            developer_id=None, virtual_key_id=of.pk, provider_access_id=None, model="claude-opus-5-5",
            amount_nano_usd=round(usd * USD), tokens=10, price_id=None,
        )  # fmt: skip
        with transaction.atomic():
            ledger.post([posting])

    return charge
