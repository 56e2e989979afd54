"""Virtual keys: issue, rotate, revoke, change. A secret is returned once and stored nowhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from governance.domain.keys import Secret, make_secret
from governance.models import Developer, KeySecret, Project, Team, VirtualKey
from governance.services import audit
from governance.services.audit import Actor
from governance.services.records import lock, save_with_audit

MAX_OVERLAP = timedelta(days=30)
"""Longest time that an old secret may go on working after a rotation."""


def issue_key(
    *,
    team: Team,
    name: str,
    developer: Developer | None = None,
    project: Project | None = None,
    models: Sequence[str] = (),
    model_aliases: Mapping[str, str] | None = None,
    allowed_ips: Sequence[str] = (),
    expires_at: datetime | None = None,
    content_policy: str = VirtualKey.ContentPolicy.INHERIT,
    secret: Secret | None = None,
    actor: Actor,
    actor_name: str = "",
) -> tuple[VirtualKey, Secret]:
    """Make a key of a team and its first secret. Raises ValidationError.

    `secret` is given where the secret is known already, from an environment variable for example.
    """
    with transaction.atomic():
        key = VirtualKey(
            team=team,
            name=name,
            developer=developer,
            project=project,
            model_patterns=list(models),
            model_aliases=dict(model_aliases or {}),
            allowed_ips=list(allowed_ips),
            expires_at=expires_at,
            content_policy=content_policy,
            created_by_id=getattr(actor, "pk", None),
        )
        if expires_at is not None and expires_at <= timezone.now():
            raise ValidationError({"expires_at": "This moment is past; the key would never work."})
        secret = secret or make_secret()
        save_with_audit(
            instance=key,
            actor=actor,
            actor_name=actor_name,
            action="virtual_key.issued",
            extra={"secret": [None, _public_part(secret)]},
        )
        _store(key, secret)
    return key, secret


def rotate_key(
    *, key: VirtualKey, overlap: timedelta, secret: Secret | None = None, actor: Actor, actor_name: str = ""
) -> Secret:
    """Add a new secret; those before it work until the overlap is over. Raises ValidationError, Vanished."""
    if not timedelta(0) <= overlap <= MAX_OVERLAP:
        raise ValidationError({"overlap": f"The overlap lies between none and {MAX_OVERLAP.days} days."})
    with transaction.atomic():
        # Two people rotate at once: the lock lets the second see, and end, the first one's secret.
        key = lock(key)
        if key.revoked_at is not None:
            raise ValidationError(f"{key} was revoked; issue a new key instead of rotating it.")
        until = timezone.now() + overlap
        working = key.secrets.exclude(valid_until__lte=until)
        ended = sorted(f"{stored} until {until:%Y-%m-%d %H:%M} UTC" for stored in working)
        working.update(valid_until=until)
        secret = secret or make_secret()
        _store(key, secret)
        audit.record(
            actor=actor,
            actor_name=actor_name,
            action="virtual_key.rotated",
            target=key,
            changes={"secret": [", ".join(ended) or None, _public_part(secret)]},
        )
    return secret


def revoke_key(*, key: VirtualKey, reason: str, actor: Actor, actor_name: str = "") -> bool:
    """Refuse the key from now on, for good. False where it was revoked before; that reason stays."""
    now = timezone.now()
    with transaction.atomic():
        # Two people revoke at once: one update finds the key unrevoked, the other finds nothing to do.
        won = VirtualKey.objects.filter(pk=key.pk, revoked_at__isnull=True).update(
            revoked_at=now, revoked_reason=reason[:200]
        )
        if won:
            key.revoked_at, key.revoked_reason = now, reason[:200]
            audit.record(
                actor=actor,
                actor_name=actor_name,
                action="virtual_key.revoked",
                target=key,
                changes={"revoked_at": [None, now]},
                note=reason,
            )
    return bool(won)


def _store(key: VirtualKey, secret: Secret) -> None:
    stored = KeySecret(
        virtual_key=key,
        public_id=secret.public_id,
        digest=secret.digest(settings.COMPTROLLER["COMPTROLLER_KEY_PEPPER"]),
    )
    try:
        stored.full_clean()
    except ValidationError:
        raise ValidationError("This secret's public id is taken by another key; take another secret.") from None
    stored.save()


def _public_part(secret: Secret) -> str:
    return f"sk-cmp-{secret.public_id}-…"
