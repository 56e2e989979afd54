"""Keys: issued, rotated with an overlap, revoked once; the secret is nowhere but in the caller's hand."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.apps import apps
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import connection
from django.utils import timezone

from governance.domain.keys import Secret, make_secret
from governance.models import AuditEntry, Customer, Developer, KeySecret, Project, Team, VirtualKey
from governance.services import keys

pytestmark = pytest.mark.django_db


@pytest.fixture
def team() -> Team:
    return Team.objects.create(customer=Customer.objects.create(name="Acme"), name="Core")


def everything_stored() -> str:
    models = [*apps.get_app_config("governance").get_models(), *apps.get_app_config("sessions").get_models()]
    return "\n".join(str(list(model._default_manager.values())) for model in models)


def test_issue_keeps_the_id_and_a_digest_under_the_pepper(team: Team) -> None:
    key, secret = keys.issue_key(team=team, name="laptop", models=["claude-*"], allowed_ips=["10.0.0.0/8"], actor=None)
    stored = key.secrets.get()
    assert stored.public_id == secret.public_id
    assert stored.digest == secret.digest(settings.COMPTROLLER["COMPTROLLER_KEY_PEPPER"])
    assert secret.random not in everything_stored()
    entry = AuditEntry.objects.get(action="virtual_key.issued")
    assert entry.changes["secret"] == [None, f"sk-cmp-{secret.public_id}-…"]
    assert entry.team_id == team.pk


def test_a_given_secret_is_taken_and_never_twice(team: Team) -> None:
    secret = make_secret()
    _, issued = keys.issue_key(team=team, name="a", secret=secret, actor=None)
    assert issued is secret
    with pytest.raises(ValidationError, match="public id is taken"):
        keys.issue_key(team=team, name="b", secret=Secret(secret.public_id, "x" * 43), actor=None)
    assert not VirtualKey.objects.filter(name="b").exists()


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"name": ""}, "name"),
        ({"models": ["no spaces"]}, "model_patterns"),
        ({"allowed_ips": ["10.0.0.300"]}, "allowed_ips"),
        ({"expires_at": timezone.now() - timedelta(seconds=1)}, "expires_at"),
    ],
)
def test_what_cannot_work_is_refused_and_leaves_nothing(team: Team, values: dict[str, object], field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        keys.issue_key(**{"team": team, "name": "laptop", "actor": None, **values})
    assert field in refused.value.message_dict
    assert not VirtualKey.objects.exists()
    assert not AuditEntry.objects.exists()


def test_developer_and_project_belong_to_the_same_customer(team: Team) -> None:
    other = Customer.objects.create(name="Globex")
    developer = Developer.objects.create(customer=other, email="x@globex.test")
    project = Project.objects.create(customer=other, name="theirs")
    with pytest.raises(ValidationError) as refused:
        keys.issue_key(team=team, name="laptop", developer=developer, project=project, actor=None)
    assert set(refused.value.message_dict) == {"developer", "project"}


def test_a_name_is_taken_whatever_its_case(team: Team) -> None:
    keys.issue_key(team=team, name="laptop", actor=None)
    with pytest.raises(ValidationError, match="has a key of this name"):
        keys.issue_key(team=team, name="Laptop", actor=None)


def test_rotation_lets_the_old_secret_work_until_the_overlap_is_over(team: Team) -> None:
    key, old = keys.issue_key(team=team, name="laptop", actor=None)
    before = timezone.now()
    new = keys.rotate_key(key=key, overlap=timedelta(hours=24), actor=None)
    ends = KeySecret.objects.get(public_id=old.public_id).valid_until
    assert ends is not None
    assert before + timedelta(hours=24) <= ends <= timezone.now() + timedelta(hours=24)
    assert KeySecret.objects.get(public_id=new.public_id).valid_until is None
    assert new.random not in everything_stored()


def test_a_second_rotation_ends_both_older_secrets_and_prolongs_none(team: Team) -> None:
    key, first = keys.issue_key(team=team, name="laptop", actor=None)
    keys.rotate_key(key=key, overlap=timedelta(hours=1), actor=None)
    ends_first = KeySecret.objects.get(public_id=first.public_id).valid_until
    newest = keys.rotate_key(key=key, overlap=timedelta(hours=5), actor=None)
    assert KeySecret.objects.get(public_id=first.public_id).valid_until == ends_first
    assert key.secrets.filter(valid_until__isnull=True).get().public_id == newest.public_id
    keys.rotate_key(key=key, overlap=timedelta(0), actor=None)
    assert key.secrets.filter(valid_until__gt=timezone.now()).count() == 0


def test_rotation_of_a_revoked_key_or_over_a_wild_overlap_is_refused(team: Team) -> None:
    key, _ = keys.issue_key(team=team, name="laptop", actor=None)
    for overlap in (timedelta(seconds=-1), timedelta(days=31)):
        with pytest.raises(ValidationError):
            keys.rotate_key(key=key, overlap=overlap, actor=None)
    keys.revoke_key(key=key, reason="lost", actor=None)
    with pytest.raises(ValidationError, match="was revoked"):
        keys.rotate_key(key=key, overlap=timedelta(0), actor=None)


def test_the_first_revocation_stays(team: Team) -> None:
    key, _ = keys.issue_key(team=team, name="laptop", actor=None)
    assert keys.revoke_key(key=key, reason="lost", actor=None)
    assert not keys.revoke_key(key=VirtualKey.objects.get(pk=key.pk), reason="again", actor=None)
    key.refresh_from_db()
    assert key.revoked_reason == "lost"
    assert AuditEntry.objects.filter(action="virtual_key.revoked").count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_people_who_revoke_or_rotate_at_once_each_finds_a_settled_state() -> None:
    team = Team.objects.create(customer=Customer.objects.create(name="Acme"), name="Core")
    key, _ = keys.issue_key(team=team, name="laptop", actor=None)
    results: list[bool | Secret] = []
    failures: list[BaseException] = []

    def rotate() -> None:
        try:
            results.append(keys.rotate_key(key=key, overlap=timedelta(0), actor=None))
        except BaseException as error:
            failures.append(error)
        finally:
            connection.close()

    def revoke() -> None:
        try:
            results.append(keys.revoke_key(key=VirtualKey.objects.get(pk=key.pk), reason="x", actor=None))
        except BaseException as error:
            failures.append(error)
        finally:
            connection.close()

    for job in (rotate, revoke):
        threads = [threading.Thread(target=job) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
    assert failures == []
    assert key.secrets.filter(valid_until__isnull=True).count() == 1
    assert results.count(True) == 1
