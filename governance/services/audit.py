"""The audit trail: append one entry, and check that the chain of all entries is whole.

Each entry's hash covers its own fields and the hash of the entry before it, so that a row changed, removed or
slipped in behind the triggers' back breaks the chain at a place that `verify_chain` names.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser
from django.db import connection, models, transaction
from django.utils import timezone

from governance.models import AuditEntry

Actor = AbstractBaseUser | AnonymousUser | None

_ADVISORY_LOCK = 0x636D705F61756474
"""Number of the PostgreSQL advisory lock that appenders take: "cmp_audt"."""

_SECRET = re.compile(r"\bsk-(cmp-[0-9A-Za-z]{8}|ant-[0-9A-Za-z]{1,8})-[0-9A-Za-z_-]{16,}")

_address: ContextVar[str | None] = ContextVar("audit_address", default=None)


@dataclass(frozen=True, slots=True)
class Break:
    """Where the chain does not hold: the first entry concerned and what is wrong with it."""

    entry_id: int
    reason: str


@contextmanager
def coming_from(address: str | None) -> Iterator[None]:
    """Entries recorded inside name this IP address, unless they name one themselves."""
    token = _address.set(address)
    try:
        yield
    finally:
        _address.reset(token)


def record(
    *,
    actor: Actor,
    actor_name: str = "",
    action: str,
    target: models.Model,
    changes: Mapping[str, Sequence[Any]] | None = None,
    note: str = "",
    ip: str | None = None,
    customer_id: int | None = None,
) -> AuditEntry:
    """Append an entry in the caller's transaction (or one of its own).

    `changes` is `{"field": [old, new]}`. `actor_name` names the command that acts where there is no user.
    `customer_id` says whom it concerns where the target itself belongs to no customer.
    """
    user = actor if actor is not None and actor.is_authenticated else None
    own_customer_id, team_id = tenancy(target)
    entry = AuditEntry(
        at=timezone.now().astimezone(UTC),
        actor_id=user.pk if user else None,
        actor_name=(actor_name or (user.get_username() if user else "system"))[:150],
        action=action,
        target_type=str(target._meta.model_name),
        target_id=str(target.pk),
        target_name=str(target)[:300],
        customer_id=own_customer_id or customer_id,
        team_id=team_id,
        changes=_plain(changes or {}),
        note=_without_secrets(note)[:300],
        ip=ip or _address.get(),
    )
    with transaction.atomic():
        _hold_the_head()
        entry.previous_hash = AuditEntry.objects.order_by("-pk").values_list("hash", flat=True).first() or ""
        entry.hash = _hash(entry)
        entry.save(force_insert=True)
    return entry


def verify_chain() -> Break | None:
    """Read every entry from the first on; None where each follows from the one before."""
    previous = ""
    for entry in AuditEntry.objects.order_by("pk").iterator(chunk_size=1000):
        if entry.previous_hash != previous:
            return Break(entry.pk, "does not follow from the entry before it: an entry was removed, added or changed")
        if entry.hash != _hash(entry):
            return Break(entry.pk, "was changed after it was written")
        previous = entry.hash
    return None


def tenancy(target: models.Model) -> tuple[int | None, int | None]:
    """Ids of the customer and team that a row belongs to: they decide who may read the entry."""
    if target._meta.model_name == "customer":
        return target.pk, None
    if target._meta.model_name == "team":
        return getattr(target, "customer_id", None), target.pk
    key: Any = target if target._meta.model_name == "virtualkey" else getattr(target, "virtual_key", None)
    if key is not None:
        return key.team.customer_id, key.team_id
    return getattr(target, "customer_id", None), getattr(target, "team_id", None)


def _hold_the_head() -> None:
    """Let one appender at a time read the last hash.

    Two appenders that read the same head would fork the chain; the unique `previous_hash` would refuse the
    second. PostgreSQL waits on an advisory lock until the first commits. SQLite transactions are IMMEDIATE:
    one writer at a time already.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_ADVISORY_LOCK])


def _hash(entry: AuditEntry) -> str:
    """SHA-256 over the canonical JSON of every field but the primary key and the hash itself."""
    body = {
        field.attname: getattr(entry, field.attname)
        for field in AuditEntry._meta.concrete_fields
        if field.attname not in {"id", "hash"}
    }
    canonical = json.dumps(_plain(body), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _plain(value: Any) -> Any:
    """A JSON value that SQLite's text and PostgreSQL's jsonb give back alike; secrets keep only their id."""
    match value:
        case None | bool() | int():
            return value
        case float():
            if not math.isfinite(value):
                return str(value)
            # jsonb writes 1e22 as digits, which read back as a whole number: it is made one from the start.
            return int(value) if value.is_integer() else value
        case datetime():
            return value.astimezone(UTC).isoformat(timespec="microseconds")
        case date():
            return value.isoformat()
        case str():
            return _without_secrets(value)
        case Mapping():
            return {str(key): _plain(inner) for key, inner in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_plain(inner) for inner in value]
    return _without_secrets(str(value))


def _without_secrets(text: str) -> str:
    return _SECRET.sub(r"sk-\1-…", text)
