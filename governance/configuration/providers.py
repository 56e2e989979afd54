"""Providers of the file and their credentials."""

from __future__ import annotations

from governance.configuration import schema
from governance.configuration.writer import ACTOR_NAME, Writer
from governance.models import Provider, ProviderCredential
from governance.services.providers import set_secret


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
            "weight": None if said.weight is None else float(said.weight),
            "is_active": said.active,
        },
    )
    _keep_secret(writer, credential, said.secret_env, label)
    if provider.kind != Provider.Kind.SIMULATED and not (credential.secret_env or credential.secret):
        writer.outcome.note(f"{label} has no secret yet: name a secret_env or enter it in the admin.")


def _keep_secret(writer: Writer, credential: ProviderCredential, variable: str | None, label: str) -> None:
    """Store the variable's value encrypted, so that the gateway works where the variable is set only here.

    Where the gateway's own environment has the variable, that one wins.
    """
    value = writer.environ.get(variable or "", "").strip()
    field = ProviderCredential._meta.get_field("secret")
    if value and field.reveal(credential) != value:
        had = "stored" if credential.secret else "none"
        set_secret(credential=credential, secret=value, actor=None, actor_name=ACTOR_NAME)
        writer.outcome.add(label, adding=False, changes={"secret": [had, f"stored, from {variable}"]})
