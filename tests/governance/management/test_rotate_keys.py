"""`rotate_keys`: after it the old encryption key is not needed any more."""

from __future__ import annotations

import os

import pytest
from django.core.management import CommandError, call_command

from governance.encryption import CannotDecrypt
from governance.models import AuditEntry, Provider, ProviderCredential
from governance.services import providers

pytestmark = pytest.mark.django_db
OLD, NEW = ("old", os.urandom(32)), ("new", os.urandom(32))
FIELD = ProviderCredential._meta.get_field("secret")


@pytest.fixture
def credential(settings: object) -> ProviderCredential:
    use(settings, OLD)
    return providers.create_credential(
        provider=Provider.objects.create(name="anthropic"), secret="the-secret", actor=None
    )


def use(settings: object, *keys: tuple[str, bytes]) -> None:
    settings.COMPTROLLER = {**settings.COMPTROLLER, "COMPTROLLER_ENCRYPTION_KEYS": keys}


def test_every_secret_moves_to_the_first_key(
    credential: ProviderCredential, settings: object, capsys: pytest.CaptureFixture[str]
) -> None:
    use(settings, NEW, OLD)
    call_command("rotate_keys")
    assert "Encrypted 1 secrets again under key new" in capsys.readouterr().out
    use(settings, NEW)
    credential.refresh_from_db()
    assert FIELD.reveal(credential) == "the-secret"
    entry = AuditEntry.objects.first()
    assert entry is not None
    assert entry.changes == {"encryption_key": ["old", "new"]}
    call_command("rotate_keys")
    assert AuditEntry.objects.filter(action="provider_credential.reencrypted").count() == 1


def test_what_cannot_be_read_is_named_and_kept(credential: ProviderCredential, settings: object) -> None:
    use(settings, NEW)
    with pytest.raises(CommandError, match="anthropic/main"):
        call_command("rotate_keys")
    with pytest.raises(CannotDecrypt):
        FIELD.reveal(ProviderCredential.objects.get())
    use(settings, OLD)
    assert FIELD.reveal(ProviderCredential.objects.get()) == "the-secret"
