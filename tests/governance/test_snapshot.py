"""The configuration as values: what a credential's variable may be, and rows that change while they are read."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from governance import grants, snapshot
from governance.models import Customer, KeySecret, Provider, ProviderCredential, Team, VirtualKey
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
