"""Providers and their credentials: create, change, and set a secret that nobody reads back."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from governance.domain.provider_kinds import secret_problem, usual_method
from governance.models import Provider, ProviderAccess, ProviderCredential, RoutingRule, VirtualKey
from governance.services.audit import Actor
from governance.services.records import save_with_audit

_NAMED_RULES = 3


def rules_naming(provider: Provider) -> str:
    """Why a provider cannot be deleted: the routing rules that name it, in a sentence; empty where none does."""
    names = [
        rule.name
        for rule in RoutingRule.objects.all()
        if any(target.get("provider_id") == provider.pk for target in (*rule.targets, *rule.fallbacks))
    ]
    if not names:
        return ""
    shown = ", ".join(f"“{name}”" for name in names[:_NAMED_RULES])
    more = f" and {len(names) - _NAMED_RULES:,} more" if len(names) > _NAMED_RULES else ""
    return (
        f"{provider.name} is a target of the routing rule{'' if len(names) == 1 else 's'} {shown}{more}. "
        "Take it out there first, or switch it off."
    )


def create_provider(*, name: str, kind: str, actor: Actor, actor_name: str = "", **values: Any) -> Provider:
    """A new provider. Raises ValidationError."""
    return save_with_audit(instance=Provider(name=name, kind=kind, **values), actor=actor, actor_name=actor_name)


def create_credential(
    *,
    provider: Provider,
    name: str = "main",
    secret: str = "",
    actor: Actor,
    actor_name: str = "",
    **values: Any,
) -> ProviderCredential:
    """A new credential; the secret, where one is given, is stored encrypted. Raises ValidationError.

    Where `method` is not said it is what the kind's credentials with (or without) a secret usually are.
    """
    known = bool(secret or values.get("secret_env"))
    values.setdefault("method", usual_method(provider.kind, secret=known, identifier=bool(values.get("identifier"))))
    credential = ProviderCredential(provider=provider, name=name, **values)
    seal_secret(credential, secret)
    return save_with_audit(instance=credential, actor=actor, actor_name=actor_name)


def set_secret(
    *, credential: ProviderCredential, secret: str, actor: Actor, actor_name: str = ""
) -> ProviderCredential:
    """Replace the stored secret; an empty one removes it. Raises ValidationError."""
    seal_secret(credential, secret)
    return save_with_audit(
        instance=credential,
        actor=actor,
        actor_name=actor_name,
        action="provider_credential.secret_set",
        fields=["secret"],
    )


def seal_secret(credential: ProviderCredential, secret: str) -> None:
    """Put the secret onto the instance, encrypted; the caller saves. Raises ValidationError."""
    if problem := secret_problem(credential.method, secret.strip()):
        raise ValidationError({"secret": problem})
    ProviderCredential._meta.get_field("secret").put(credential, secret.strip())


def allow_provider(
    *, key: VirtualKey, provider: Provider, actor: Actor, actor_name: str = "", **values: Any
) -> ProviderAccess:
    """Let a key use a provider; `values` are model_patterns and weight. Raises ValidationError."""
    access = ProviderAccess(virtual_key=key, provider=provider, **values)
    return save_with_audit(instance=access, actor=actor, actor_name=actor_name)


def change(
    *, row: Provider | ProviderCredential | ProviderAccess, actor: Actor, actor_name: str = "", **values: Any
) -> None:
    """Set the given columns of a provider, credential or access. Raises ValidationError."""
    with transaction.atomic():
        for name, value in values.items():
            setattr(row, name, value)
        save_with_audit(instance=row, actor=actor, actor_name=actor_name, fields=values)
