"""Virtual keys of the file, the developers they name and the providers they may use."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone

from governance.configuration import schema
from governance.configuration.errors import problem
from governance.configuration.limits import put_limits
from governance.configuration.report import Outcome
from governance.configuration.writer import ACTOR_NAME, Writer, errors_at
from governance.domain.keys import Secret, parse_secret
from governance.models import Developer, Project, Provider, ProviderAccess, Team, VirtualKey
from governance.services.keys import issue_key, rotate_key

ROTATION_OVERLAP = timedelta(hours=24)
"""How long the old secret goes on working after the variable of `secret_env` holds a new one."""


def put_key(writer: Writer, team: Team, said: schema.Key, path: str) -> None:
    writer.once("key", (team.pk, said.name.lower()), path)
    title = f"{team.customer.name}/{team.name}/{said.name}"
    label = f"key {title}"
    secret = _given_secret(writer, said, path)
    key = team.keys.filter(name__iexact=said.name).first()
    if key is not None and key.revoked_at is not None:
        writer.outcome.unchanged += 1
        writer.outcome.lines.append(
            f"= {label}: was revoked on {key.revoked_at:%Y-%m-%d} and stays so; a new key needs a new name"
        )
        return
    developer = _developer(writer, team, said.developer, path) if said.developer else None
    project = _project(team, said.project, path) if said.project else None
    if key is None:
        key = _issue(writer, team, said, developer, project, secret, title, path)
    else:
        if said.expires_at == "never":
            key.expires_at = None
        values = {
            "name": said.name,
            "developer": developer,
            "project": project,
            "model_patterns": said.models,
            "model_aliases": said.model_aliases,
            "allowed_ips": said.allowed_ips,
            "content_policy": said.content_policy,
            "expires_at": _moment(said.expires_at, path),
        }
        writer.put(key, label=label, path=path, values=values)
        _follow_secret(writer.outcome, key, secret, label, path)
    put_limits(writer, key, said, label=label, path=path)
    for index, access in enumerate(said.providers):
        _put_access(writer, key, access, label, f"{path}.providers[{index}]")


def _issue(
    writer: Writer,
    team: Team,
    said: schema.Key,
    developer: Developer | None,
    project: Project | None,
    secret: Secret | None,
    title: str,
    path: str,
) -> VirtualKey:
    with errors_at(path):
        key, made = issue_key(
            team=team,
            name=said.name,
            developer=developer,
            project=project,
            models=said.models or (),
            model_aliases=said.model_aliases,
            allowed_ips=said.allowed_ips or (),
            expires_at=_moment(said.expires_at, path),
            content_policy=said.content_policy or VirtualKey.ContentPolicy.INHERIT,
            secret=secret,
            actor=None,
            actor_name=ACTOR_NAME,
        )
    whose = f" of {key.developer.email}" if key.developer else ""
    origin = f"the secret in {said.secret_env}" if secret else "a random secret"
    writer.outcome.add(f"key {title}{whose}, with {origin}", adding=True, changes={})
    if secret is None:
        writer.outcome.secrets[title] = made
    return key


def _follow_secret(outcome: Outcome, key: VirtualKey, secret: Secret | None, label: str, path: str) -> None:
    """Rotate to the variable's secret where the key does not know it yet."""
    if secret is None:
        return
    digest = secret.digest(settings.COMPTROLLER["COMPTROLLER_KEY_PEPPER"])
    if key.secrets.filter(digest=digest).exclude(valid_until__lte=timezone.now()).exists():
        return
    with errors_at(f"{path}.secret_env"):
        rotate_key(key=key, overlap=ROTATION_OVERLAP, secret=secret, actor=None, actor_name=ACTOR_NAME)
    outcome.changed += 1
    outcome.lines.append(
        f"~ {label}: rotated to the new secret; the old one works for {ROTATION_OVERLAP.days * 24} hours more"
    )


def _put_access(writer: Writer, key: VirtualKey, said: schema.Access, label: str, path: str) -> None:
    provider = Provider.objects.filter(name__iexact=said.name).first()
    if provider is None:
        known = ", ".join(Provider.objects.values_list("name", flat=True)) or "none"
        raise problem(f"{path}.name", f"there is no provider {said.name!r}. Known: {known}.")
    writer.once("provider of the key", (key.pk, provider.pk), path)
    access = key.accesses.filter(provider=provider).first() or ProviderAccess(virtual_key=key, provider=provider)
    told = f"provider {provider.name} of {label}"
    writer.put(
        access,
        label=told,
        path=path,
        values={
            "model_patterns": said.models,
            "weight": None if said.weight is None else float(said.weight),
        },
    )
    put_limits(writer, access, said, label=told, path=path)


def _given_secret(writer: Writer, said: schema.Key, path: str) -> Secret | None:
    if said.secret_env is None:
        return None
    secret = parse_secret(writer.secret(said.secret_env, path))
    if secret is None:
        raise problem(
            f"{path}.secret_env",
            f"{said.secret_env} does not hold a virtual key: sk-cmp-, 8 letters or digits, -, 43 letters or digits. "
            "Leave secret_env out to get a random one.",
        )
    return secret


def _developer(writer: Writer, team: Team, email: str, path: str) -> Developer:
    """The customer's developer of this address, made at the first mention."""
    found: Developer | None = Developer.objects.filter(customer=team.customer, email__iexact=email).first()
    if found is not None:
        return found
    return writer.put(
        Developer(customer=team.customer, team=team, email=email),
        label=f"developer {team.customer.name}/{email}",
        path=f"{path}.developer",
        values={},
    )


def _project(team: Team, name: str, path: str) -> Project:
    found: Project | None = Project.objects.filter(customer=team.customer, name__iexact=name).first()
    if found is None:
        raise problem(f"{path}.project", f"{team.customer.name} has no project {name!r}.")
    return found


def _moment(text: str | None, path: str) -> datetime | None:
    if text in (None, "never"):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise problem(
            f"{path}.expires_at",
            f"{text!r} is not a moment with a time zone. Write 2027-01-31T00:00:00+01:00, or never.",
        )
    return moment
