"""People and budgets of the tests of raises: Fay of Finance and Frank, Lee who leads the team, Charlie elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from django.contrib.auth.models import Group, User
from django.db import transaction
from django.utils import timezone

from governance import ledger
from governance.models import Budget, Customer, Raise, Team, VirtualKey
from governance.services import budgets, keys, raises, tenants

USD = 10**9
_numbers = count(1)


@dataclass
class Company:
    acme: Customer
    core: Team
    web: Team
    key: VirtualKey
    core_month: Budget
    web_month: Budget
    whole: Budget
    fay: User
    frank: User
    lee: User
    charlie: User


def person(name: str, role: str, customer: Customer, team: Team | None = None) -> User:
    user = User.objects.create_user(name, email=f"{name}@{customer.name.lower()}.test", is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    tenants.add_membership(user=user, customer=customer, team=team, actor=None)
    return user


def company() -> Company:
    acme = tenants.create_customer(name="Acme", timezone="Europe/Berlin", actor=None)
    globex = tenants.create_customer(name="Globex", actor=None)
    core, web = (tenants.create_team(customer=acme, name=name, actor=None) for name in ("Core", "Web"))
    return Company(
        acme=acme,
        core=core,
        web=web,
        key=keys.issue_key(team=core, name="laptop", actor=None)[0],
        core_month=budgets.create_budget(target=core, limit_nano_usd=100 * USD, actor=None),
        web_month=budgets.create_budget(target=web, limit_nano_usd=100 * USD, actor=None),
        whole=budgets.create_budget(target=acme, limit_nano_usd=500 * USD, period="lifetime", actor=None),
        fay=person("fay", "Finance", acme),
        frank=person("frank", "Finance", acme),
        lee=person("lee", "Team lead", acme, core),
        charlie=person("charlie", "Finance", globex),
    )


def spend(key: VirtualKey, nano: int, at: datetime | None = None) -> None:
    number = next(_numbers)
    posting = ledger.Posting(
        id=f"{number:026d}", occurred_at=at or timezone.now(), customer_id=key.team.customer_id, team_id=key.team_id,
        project_id=key.project_id, developer_id=key.developer_id, virtual_key_id=key.pk, provider_access_id=None,
        model="claude-opus-5", amount_nano_usd=nano, tokens=100, price_id=None,
    )  # fmt: skip
    with transaction.atomic():
        ledger.post([posting])


def ask(budget: Budget, requester: Any, usd: int = 10, hours: float = 24, **more: Any) -> Raise:
    values = {"reason": "month-end close", "ends_at": timezone.now() + timedelta(hours=hours), **more}
    return raises.request(budget=budget, amount_nano_usd=usd * USD, requester=requester, **values)
