"""Providers of the file and their credentials."""

from __future__ import annotations

from governance.configuration import schema
from governance.configuration.writer import Writer
from governance.domain.provider_kinds import NEEDS_SECRET, usual_method
from governance.encryption import CannotDecrypt, seal
from governance.models import Provider, ProviderCredential

_LIMITS = ("requests_per_minute", "tokens_per_minute", "concurrent")


def put_provider(writer: Writer, said: schema.Provider, path: str) -> None:
    writer.once("provider", said.name.lower(), path)
    provider = Provider.objects.filter(name__iexact=said.name).first() or Provider()
    writer.put(
        provider,
        label=f"provider {said.name}",
        path=path,
        values={
            "name": said.name,
            "kind": said.kind,
            "base_url": said.base_url,
            "region": said.region,
            "project": said.project,
            "model_map": said.models,
            "options": said.options,
            "rank": said.rank,
            "is_active": said.active,
        },
    )
    for index, credential in enumerate(said.credentials):
        _put_credential(writer, provider, credential, f"{path}.credentials[{index}]")


def _put_credential(writer: Writer, provider: Provider, said: schema.Credential, path: str) -> None:
    writer.once("credential", (provider.pk, said.name.lower()), path)
    credential = provider.credentials.filter(name__iexact=said.name).first() or ProviderCredential(provider=provider)
    if said.secret_env and said.secret_env != credential.secret_env:
        # One that is missing here is most likely a slip. An unchanged name is not asked for again: a change of a
        # budget needs no provider secret at hand.
        writer.secret(said.secret_env, path)
    label = f"credential {provider.name}/{said.name}"
    method: str | None = said.method
    if method is None and credential._state.adding:
        method = usual_method(provider.kind, secret=bool(said.secret_env), identifier=bool(said.identifier))
    writer.put(
        credential,
        label=label,
        path=path,
        values={
            "name": said.name,
            "method": method,
            "identifier": said.identifier,
            "secret_env": said.secret_env,
            "secret": _sealed(writer, credential, said.secret_env),
            "weight": None if said.weight is None else float(said.weight),
            **{name: getattr(said, name) or None for name in _LIMITS},
            "is_active": said.active,
        },
        emptied=[name for name in _LIMITS if getattr(said, name) == 0],
    )
    needs_secret = provider.kind != Provider.Kind.SIMULATED and credential.method in NEEDS_SECRET
    if needs_secret and not (credential.secret_env or credential.secret):
        writer.outcome.note(f"{label} has no secret yet: name a secret_env or enter it in the admin.")


def _sealed(writer: Writer, credential: ProviderCredential, variable: str | None) -> str | None:
    """The variable's value, encrypted, where another one or none is stored.

    So the gateway works where the variable is set only here; where its own environment has it, that one wins.
    """
    value = writer.environ.get(variable or "", "").strip()
    if not value:
        return None
    field = ProviderCredential._meta.get_field("secret")
    try:
        if field.reveal(credential) == value:
            return None
    except CannotDecrypt:
        # Under a key that is lost: the value at hand replaces it.
        pass
    return seal(value, bound_to=field.bound_to(credential))
