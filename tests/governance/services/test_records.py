"""Saves with an audit entry: old and new values, no lost updates, no row that moves to another customer."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError

from governance.models import (
    AuditEntry,
    Budget,
    Customer,
    Developer,
    Membership,
    Project,
    Provider,
    ProviderCredential,
    Team,
)
from governance.services import budgets, keys, providers, tenants
from governance.services.records import Vanished, delete_with_audit, save_with_audit

pytestmark = pytest.mark.django_db


@pytest.fixture
def acme() -> Customer:
    return tenants.create_customer(name="Acme", actor=None)


def last() -> AuditEntry:
    entry = AuditEntry.objects.first()
    assert entry is not None
    return entry


def test_two_people_who_change_different_fields_keep_both(acme: Customer) -> None:
    hers, his = Customer.objects.get(pk=acme.pk), Customer.objects.get(pk=acme.pk)
    tenants.change(tenant=hers, timezone="Europe/Berlin", actor=None)
    tenants.change(tenant=his, contact="finance@acme.test", actor=None)
    acme.refresh_from_db()
    assert (acme.timezone, acme.contact) == ("Europe/Berlin", "finance@acme.test")
    assert last().changes == {"contact": ["", "finance@acme.test"]}


def test_nothing_changed_is_nothing_recorded(acme: Customer) -> None:
    before = AuditEntry.objects.count()
    tenants.change(tenant=acme, name="Acme", actor=None)
    assert not tenants.activate(tenant=acme, actor=None)
    assert AuditEntry.objects.count() == before
    assert tenants.deactivate(tenant=acme, actor=None, note="left")
    assert (last().changes, last().note) == ({"is_active": [True, False]}, "left")


def test_a_row_that_is_gone_says_so(acme: Customer) -> None:
    stale = Customer.objects.get(pk=acme.pk)
    delete_with_audit(instance=acme, actor=None)
    assert (last().action, last().changes["name"]) == ("customer.deleted", ["Acme", None])
    with pytest.raises(Vanished, match="deleted meanwhile"):
        tenants.change(tenant=stale, name="New", actor=None)


def test_what_belongs_to_a_customer_stays_there(acme: Customer) -> None:
    other = tenants.create_customer(name="Globex", actor=None)
    team = tenants.create_team(customer=acme, name="Core", actor=None)
    mates = tenants.create_team(customer=acme, name="Data", actor=None)
    developer = tenants.create_developer(customer=acme, email="a@acme.test", actor=None)
    project = tenants.create_project(customer=acme, name="p", actor=None)
    for row in (team, developer, project):
        with pytest.raises(ValidationError, match="stays with its customer"):
            tenants.change(tenant=row, customer=other, actor=None)
    key, _ = keys.issue_key(team=team, name="k", actor=None)
    key.team = mates
    with pytest.raises(ValidationError, match="stays with its team"):
        save_with_audit(instance=key, actor=None)


def test_rows_of_two_customers_do_not_mix(acme: Customer) -> None:
    theirs = tenants.create_team(customer=tenants.create_customer(name="Globex", actor=None), name="R", actor=None)
    for make in (
        lambda: tenants.create_developer(customer=acme, email="a@acme.test", team=theirs, actor=None),
        lambda: tenants.create_project(customer=acme, name="p", team=theirs, actor=None),
    ):
        with pytest.raises(ValidationError, match="belongs to another customer"):
            make()
    assert not Developer.objects.exists()
    assert not Project.objects.exists()


def test_budgets_follow_a_developer_to_another_team(acme: Customer) -> None:
    core, data = (tenants.create_team(customer=acme, name=name, actor=None) for name in ("Core", "Data"))
    developer = tenants.create_developer(customer=acme, email="a@acme.test", team=core, actor=None)
    budget = budgets.create_budget(target=developer, limit_nano_usd=5, actor=None)
    limit = budgets.create_rate_limit(target=developer, unit="concurrent", limit=3, actor=None)
    assert (budget.customer, budget.team) == (acme, core)
    tenants.change(tenant=developer, team=data, actor=None)
    for row in (budget, limit):
        row.refresh_from_db()
        assert row.team == data


def test_budgets_of_every_scope_know_their_customer_and_team(acme: Customer) -> None:
    team = tenants.create_team(customer=acme, name="Core", actor=None)
    key, _ = keys.issue_key(team=team, name="k", actor=None)
    provider = providers.create_provider(name="p", kind="simulated", actor=None)
    access = providers.allow_provider(key=key, provider=provider, actor=None)
    project = tenants.create_project(customer=acme, name="p", actor=None)
    for target, expected in ((acme, None), (team, team), (project, None), (key, team), (access, team)):
        budget = budgets.create_budget(target=target, limit_nano_usd=5, actor=None)
        assert (budget.target, budget.customer, budget.team) == (target, acme, expected)
    changed = budgets.change(row=budget, limit_nano_usd=7, actor=None)
    assert last().changes == {"limit_nano_usd": [5, 7]}
    assert Budget.objects.get(pk=changed.pk).limit_nano_usd == 7
    with pytest.raises(ValidationError, match="must not be negative"):
        budgets.change(row=budget, limit_nano_usd=-1, actor=None)


def test_a_provider_secret_is_sealed_and_the_trail_says_only_that_it_changed() -> None:
    provider = providers.create_provider(name="anthropic", kind="anthropic", actor=None)
    credential = providers.create_credential(provider=provider, secret=" first-secret\n", actor=None)
    field = ProviderCredential._meta.get_field("secret")
    assert field.reveal(ProviderCredential.objects.get()) == "first-secret"
    providers.set_secret(credential=credential, secret="second-secret", actor=None)
    assert field.reveal(ProviderCredential.objects.get()) == "second-secret"
    assert last().action == "provider_credential.secret_set"
    assert last().changes == {"secret": ["(set)", "(new value)"]}
    providers.set_secret(credential=credential, secret="", actor=None)
    assert last().changes == {"secret": ["(set)", "(none)"]}
    trail = str(list(AuditEntry.objects.values()))
    assert "first-secret" not in trail
    assert "second-secret" not in trail
    assert field.formfield() is None
    providers.change(row=provider, rank=2, actor=None)
    assert Provider.objects.get().rank == 2


def test_a_membership_is_given_once(acme: Customer, django_user_model: type) -> None:
    user = django_user_model.objects.create_user("ada")
    tenants.add_membership(user=user, customer=acme, actor=None)
    with pytest.raises(ValidationError, match="has this membership"):
        tenants.add_membership(user=user, customer=acme, actor=None)
    team = Team.objects.create(customer=tenants.create_customer(name="G", actor=None), name="R")
    with pytest.raises(ValidationError, match="another customer"):
        tenants.add_membership(user=user, customer=acme, team=team, actor=None)
    assert Membership.objects.count() == 1
