"""Providers of the file and their credentials."""

from __future__ import annotations

from governance.configuration import schema
from governance.configuration.writer import Writer
from governance.encryption import CannotDecrypt, seal
from governance.models import Provider, ProviderCredential


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
    writer.put(
        credential,
        label=label,
        path=path,
        values={
            "name": said.name,
            "secret_env": said.secret_env,
            "secret": _sealed(writer, credential, said.secret_env),
            "weight": None if said.weight is None else float(said.weight),
            "is_active": said.active,
        },
    )
    if provider.kind != Provider.Kind.SIMULATED and not (credential.secret_env or credential.secret):
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
