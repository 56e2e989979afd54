"""Secrets at rest: AES-256-GCM under the settings' keys, bound to the table, row and field they belong to.

A stored value is `<key id>:<base64 of nonce + ciphertext>`. Moving it to another row makes it unreadable.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings
from django.db import models

_NONCE_BYTES = 12


class CannotDecrypt(Exception):
    """A stored secret cannot be read: its key is not in COMPTROLLER_ENCRYPTION_KEYS, or it was moved or altered."""


def _keys() -> Sequence[tuple[str, bytes]]:
    keys: Sequence[tuple[str, bytes]] = settings.COMPTROLLER["COMPTROLLER_ENCRYPTION_KEYS"]
    return keys


def seal(plaintext: str, *, bound_to: str) -> str:
    """Encrypt under the first key; `bound_to` is authenticated, not stored."""
    key_id, key = _keys()[0]
    nonce = os.urandom(_NONCE_BYTES)
    sealed = nonce + AESGCM(key).encrypt(nonce, plaintext.encode(), bound_to.encode())
    return f"{key_id}:{base64.b64encode(sealed).decode()}"


def unseal(stored: str, *, bound_to: str) -> str:
    """The plaintext. Raises CannotDecrypt."""
    key_id, _, encoded = stored.partition(":")
    key = dict(_keys()).get(key_id)
    if key is None:
        raise CannotDecrypt(
            f"A stored secret was encrypted with key {key_id!r}, which COMPTROLLER_ENCRYPTION_KEYS does not name. "
            "Add that key, or enter the secret again."
        )
    try:
        sealed = base64.b64decode(encoded, validate=True)
        return AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], bound_to.encode()).decode()
    except (InvalidTag, ValueError):
        raise CannotDecrypt("A stored secret was altered or moved; enter it again.") from None


class EncryptedTextField(models.TextField):  # type: ignore[type-arg]
    """Text sealed in the database. Read it with `reveal(instance)`: the attribute itself holds only the sealed form.

    The model's primary key must be known before the first save (a UUID): it is part of what is authenticated.
    """

    def bound_to(self, instance: models.Model) -> str:
        return f"{instance._meta.db_table}|{instance.pk}|{self.attname}"

    def put(self, instance: models.Model, plaintext: str) -> None:
        """Seal a plaintext onto the instance; the caller saves."""
        setattr(instance, self.attname, seal(plaintext, bound_to=self.bound_to(instance)) if plaintext else "")

    def reveal(self, instance: models.Model) -> str:
        """The plaintext, empty where none is stored. Raises CannotDecrypt."""
        stored: str = getattr(instance, self.attname)
        return unseal(stored, bound_to=self.bound_to(instance)) if stored else ""

    def formfield(self, **kwargs: Any) -> None:
        """No form shows a sealed value; forms declare their own write-only input."""
        return
