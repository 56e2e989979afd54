"""The five groups and what they may never do."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, Permission, User

from governance import roles

pytestmark = pytest.mark.django_db


def user_with(role: str) -> User:
    user = User.objects.create_user(role)
    user.groups.add(Group.objects.get(name=role))
    return user


def test_every_role_exists_after_migration_with_exactly_its_permissions() -> None:
    for name, expected in roles.ROLES.items():
        held = Group.objects.get(name=name).permissions.values_list("content_type__app_label", "codename")
        assert {f"{app}.{codename}" for app, codename in held} == expected


def test_installing_again_changes_nothing_and_undoes_what_was_added_by_hand() -> None:
    group = Group.objects.get(name="Finance")
    group.permissions.add(Permission.objects.get(codename="delete_customer"))
    for _ in range(2):
        roles.install()
        assert not user_with_permission(group, "delete_customer")
    assert Group.objects.count() == len(roles.ROLES)


def user_with_permission(group: Group, codename: str) -> bool:
    return group.permissions.filter(codename=codename).exists()


@pytest.mark.parametrize("role", ["Finance", "Team lead", "Developer", "Auditor"])
def test_only_platform_admins_touch_providers_and_people(role: str) -> None:
    user = user_with(role)
    for permission in ("governance.change_provider", "governance.view_providercredential", "auth.change_user"):
        assert not user.has_perm(permission)
    assert user_with("Platform admin").has_perm("governance.change_provider")


def test_an_auditor_only_reads() -> None:
    assert all(permission.partition(".")[2].startswith("view_") for permission in roles.ROLES["Auditor"])


def test_nobody_has_a_permission_to_write_history() -> None:
    every = set().union(*roles.ROLES.values())
    for model in ("auditentry", "ledgerentry"):
        assert not {f"governance.{verb}_{model}" for verb in ("add", "change", "delete")} & every
