"""`manage.py rotate_keys`: encrypt every stored secret again under the first of the encryption keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import models, transaction

from governance.encryption import CannotDecrypt, EncryptedTextField
from governance.services import audit
from governance.services.records import subject


class Command(BaseCommand):
    help = (
        "Encrypt stored secrets again under the first key of COMPTROLLER_ENCRYPTION_KEYS. Put a new key in "
        "front, restart every process, run this, then remove the old key."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        current = settings.COMPTROLLER["COMPTROLLER_ENCRYPTION_KEYS"][0][0]
        renewed = 0
        unreadable: list[str] = []
        with transaction.atomic():
            for row, field in _sealed():
                sealed_with = getattr(row, field.attname).partition(":")[0]
                if not sealed_with or sealed_with == current:
                    continue
                try:
                    plaintext = field.reveal(row)
                except CannotDecrypt:
                    unreadable.append(str(row))
                    continue
                field.put(row, plaintext)
                row.save(update_fields=[field.name])
                audit.record(
                    actor=None,
                    actor_name="rotate_keys",
                    action=f"{subject(row)}.reencrypted",
                    target=row,
                    changes={"encryption_key": [sealed_with, current]},
                )
                renewed += 1
        self.stdout.write(f"Encrypted {renewed} secrets again under key {current}.")
        if unreadable:
            raise CommandError(
                f"Could not read {', '.join(unreadable)}: their encryption key is not in "
                "COMPTROLLER_ENCRYPTION_KEYS. Add it and run this again, or enter these secrets anew."
            )


def _sealed() -> Iterator[tuple[models.Model, EncryptedTextField]]:
    """Each row of each model that keeps secrets, locked, with each of its sealed columns."""
    for model in apps.get_models():
        fields = [field for field in model._meta.concrete_fields if isinstance(field, EncryptedTextField)]
        if fields:
            for row in model._base_manager.select_for_update(of=("self",)):
                yield from ((row, field) for field in fields)
