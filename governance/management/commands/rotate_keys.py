"""`manage.py rotate_keys`: encrypt every stored provider secret again under the first of the encryption keys."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from governance.encryption import CannotDecrypt, EncryptedTextField
from governance.models import ProviderCredential
from governance.services import audit


class Command(BaseCommand):
    help = (
        "Encrypt stored provider secrets again under the first key of COMPTROLLER_ENCRYPTION_KEYS. Put a new key in "
        "front, restart every process, run this, then remove the old key."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        field = ProviderCredential._meta.get_field("secret")
        assert isinstance(field, EncryptedTextField)  # noqa: S101  (a fact of the model)
        current = settings.COMPTROLLER["COMPTROLLER_ENCRYPTION_KEYS"][0][0]
        renewed = 0
        unreadable: list[str] = []
        with transaction.atomic():
            for credential in ProviderCredential.objects.select_for_update(of=("self",)).select_related("provider"):
                sealed_with = credential.secret.partition(":")[0]
                if not credential.secret or sealed_with == current:
                    continue
                try:
                    plaintext = field.reveal(credential)
                except CannotDecrypt:
                    unreadable.append(str(credential))
                    continue
                field.put(credential, plaintext)
                credential.save(update_fields=["secret"])
                audit.record(
                    actor=None,
                    actor_name="rotate_keys",
                    action="provider_credential.reencrypted",
                    target=credential,
                    changes={"encryption_key": [sealed_with, current]},
                )
                renewed += 1
        self.stdout.write(f"Encrypted {renewed} secrets again under key {current}.")
        if unreadable:
            raise CommandError(
                f"Could not read {', '.join(unreadable)}: their encryption key is not in "
                "COMPTROLLER_ENCRYPTION_KEYS. Add it and run this again, or enter these secrets anew."
            )
