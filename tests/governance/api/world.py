"""Two customers and their people: Alice sees Acme, Bob its team Core, Charlie only Globex.

All three hold every permission, so that what they do not reach is refused by tenancy alone.
Root is a superuser.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import Permission, User
from rest_framework.authtoken.models import Token
from rest_framework.test import APIClient

from governance.models import Customer, Developer, Membership, Project, Team


@dataclass
class World:
    acme: Customer
    globex: Customer
    core: Team
    web: Team
    ops: Team
    billing: Project
    ada: Developer
    alice: APIClient
    bob: APIClient
    charlie: APIClient
    root: APIClient


def client_for(user: User) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Token {Token.objects.create(user=user).key}")
    return client


def user_with(name: str, *permissions: str, customer: Customer | None = None, team: Team | None = None) -> User:
    user = User.objects.create_user(name)
    for codename in permissions:
        app, _, code = codename.partition(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=code))
    if customer is not None:
        Membership.objects.create(user=user, customer=customer, team=team)
    return user


def member(name: str, customer: Customer, team: Team | None = None) -> APIClient:
    user = user_with(name, customer=customer, team=team)
    everything = Permission.objects.filter(content_type__app_label__in=["governance", "observability"])
    user.user_permissions.set(everything)
    return client_for(user)


def build() -> World:
    acme = Customer.objects.create(name="Acme", timezone="Europe/Berlin")
    globex = Customer.objects.create(name="Globex")
    core = Team.objects.create(customer=acme, name="Core", cost_center="CC-100")
    web = Team.objects.create(customer=acme, name="Web")
    return World(
        acme=acme,
        globex=globex,
        core=core,
        web=web,
        ops=Team.objects.create(customer=globex, name="Ops"),
        billing=Project.objects.create(customer=acme, name="billing"),
        ada=Developer.objects.create(customer=acme, team=core, email="ada@acme.test", name="Ada"),
        alice=member("alice", acme),
        bob=member("bob", acme, core),
        charlie=member("charlie", globex),
        root=client_for(User.objects.create_superuser("root")),
    )


def results(answer: Any) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.content
    rows: list[dict[str, Any]] = answer.json()["results"]
    return rows
