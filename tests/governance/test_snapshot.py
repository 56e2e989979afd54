"""The configuration as values: what a credential's variable may be, and rows that change while they are read."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db.models import F

from governance import grants, snapshot
from governance.models import (
    Budget,
    ConfigurationVersion,
    Customer,
    KeySecret,
    Provider,
    ProviderAccess,
    ProviderCredential,
    Team,
    VirtualKey,
)
from governance.services import providers

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def credential(**values: Any) -> snapshot.CredentialConfig:
    provider = Provider.objects.create(name="p")
    ProviderCredential.objects.create(provider=provider, **values)
    (found,) = snapshot.load(NOW).providers[provider.pk].credentials
    return found


def test_a_variable_is_read_without_the_white_space_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", " sk-ant-x\n")
    assert credential(secret_env="MY_KEY").secret == "sk-ant-x"


def test_a_variable_that_is_not_set_is_a_problem() -> None:
    assert credential(secret_env="NOT_SET_ANYWHERE").problem == "the environment variable NOT_SET_ANYWHERE is not set"


@pytest.mark.parametrize("name", ["COMPTROLLER_KEY_PEPPER", "DATABASE_URL", "DJANGO_SETTINGS_MODULE", "A B"])
def test_the_gateways_own_secrets_are_no_credential(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "a secret of the gateway")
    provider = Provider.objects.create(name="elsewhere")
    with pytest.raises(ValidationError, match="secret_env"):
        providers.create_credential(provider=provider, secret_env=name, actor=None)
    # Not even where the row was written past the services.
    found = credential(secret_env=name)
    assert (found.secret, bool(found.problem)) == ("", True)


def test_a_key_issued_while_the_configuration_is_read_waits_for_the_next_load(monkeypatch: pytest.MonkeyPatch) -> None:
    team = Team.objects.create(customer=Customer.objects.create(name="Acme"), name="Core")
    first = VirtualKey.objects.create(team=team, name="first")
    KeySecret.objects.create(virtual_key=first, public_id="A" * 8, digest="d")
    grant = grants._grant

    def then_another_is_issued(*arguments: Any) -> Any:
        late = VirtualKey.objects.create(team=team, name="late")
        KeySecret.objects.create(virtual_key=late, public_id="B" * 8, digest="d")
        return grant(*arguments)

    monkeypatch.setattr(grants, "_grant", then_another_is_issued)
    assert set(snapshot.load(NOW).secrets) == {"A" * 8}
    monkeypatch.undo()
    assert set(snapshot.load(NOW).secrets) == {"A" * 8, "B" * 8}


def a_key(team: Team, name: str) -> VirtualKey:
    key = VirtualKey.objects.create(team=team, name=name)
    KeySecret.objects.create(virtual_key=key, public_id=f"{key.pk:08d}", digest="d")
    return key


@pytest.fixture
def core() -> Team:
    return Team.objects.create(customer=Customer.objects.create(name="Acme"), name="Core")


def test_changed_keys_alone_make_what_a_whole_load_makes(core: Team) -> None:
    revoked, rotated, deleted, limited, untouched = (a_key(core, name) for name in "abcde")
    provider = Provider.objects.create(name="p")
    known = snapshot.load(NOW)
    assert not snapshot.changes_since(known)
    VirtualKey.objects.filter(pk=revoked.pk).update(revoked_at=NOW)
    rotated.secrets.update(valid_until=NOW)
    KeySecret.objects.create(virtual_key=rotated, public_id="B" * 8, digest="d")
    gone = deleted.pk
    deleted.delete()
    ProviderAccess.objects.create(virtual_key=limited, provider=provider)
    issued = a_key(core, "f")
    changes = snapshot.changes_since(known)
    assert (changes.whole, changes.keys) == (False, {gone, *(key.pk for key in (revoked, rotated, limited, issued))})
    followed = snapshot.with_keys(known, changes)
    whole = snapshot.load(NOW)
    assert followed.secrets == whole.secrets
    assert (followed.version, followed.keys_version) == (whole.version, whole.keys_version)
    place = f"{untouched.pk:08d}"
    assert followed.secrets[place] is known.secrets[place]
    assert not snapshot.changes_since(followed)


def test_what_concerns_more_than_keys_asks_for_everything_and_keys_are_followed_meanwhile(core: Team) -> None:
    key = a_key(core, "a")
    known = snapshot.load(NOW)
    Budget.objects.create(scope="team", team=core, limit_nano_usd=1)
    VirtualKey.objects.filter(pk=key.pk).update(revoked_at=NOW)
    changes = snapshot.changes_since(known)
    assert (changes.whole, changes.keys) == (True, {key.pk})
    followed = snapshot.with_keys(known, changes)
    assert followed.secrets[f"{key.pk:08d}"].grant.revoked_at == NOW
    assert snapshot.changes_since(followed) == snapshot.Changes(changes.version, frozenset(), whole=True)
    assert not snapshot.changes_since(snapshot.load(NOW))


def test_a_version_that_nobody_explains_is_a_change_of_everything(core: Team) -> None:
    known = snapshot.load(NOW)
    ConfigurationVersion.objects.update(version=F("version") + 1)
    assert snapshot.changes_since(known).whole


def test_more_keys_than_are_worth_it_are_a_change_of_everything(core: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "MOST_KEYS", 1)
    known = snapshot.load(NOW)
    a_key(core, "a")
    assert not snapshot.changes_since(known).whole
    a_key(core, "b")
    assert snapshot.changes_since(known) == snapshot.Changes(known.version + 4, frozenset(), whole=True)


def test_a_renamed_key_with_a_budget_is_read_with_everything(core: Team) -> None:
    key = a_key(core, "a")
    Budget.objects.create(scope="virtual_key", virtual_key=key, limit_nano_usd=1)
    known = snapshot.load(NOW)
    VirtualKey.objects.filter(pk=key.pk).update(expires_at=NOW)
    assert not snapshot.changes_since(known).whole
    VirtualKey.objects.filter(pk=key.pk).update(name="b")
    assert snapshot.changes_since(known).whole
