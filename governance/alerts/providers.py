"""Alarms about providers: a rejected credential, a breaker that stays open; each told once, and when it is over.

An alert of this kind is open while its `period_end` is empty, and its key, which is unique, names what is wrong: of two
workers that see the same trouble one writes it. Who sees that it is over sets the end by compare-and-set.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction

from governance.alerts.record import Found, record
from governance.models import Alert, Provider, ProviderCredential
from governance.selectors_providers import DEAD, CredentialStatus, ProviderStatus, provider_statuses

PATIENCE = timedelta(minutes=1)
"""How long a provider must be left alone before it is told of: most outages are shorter, and others took over."""
_OVER = {"rejected": "accepted", "failing": "recovered"}


@dataclass(frozen=True, slots=True)
class _Trouble:
    subject: str
    """`credential:<id>` or `provider:<id>`."""
    event: str
    name: str
    why: str
    since: datetime


def watch(now: datetime) -> list[Alert]:
    """Tell of what began and of what is over; gives the new alerts."""
    providers = list(Provider.objects.filter(is_active=True).prefetch_related("credentials"))
    statuses = provider_statuses(providers)
    troubles = {one.subject: one for status in statuses.values() for one in _troubles(status, now)}
    opened = {_subject(alert): alert for alert in Alert.objects.filter(kind=Alert.Kind.PROVIDER, key__endswith=":open")}
    new = record([_found(one, now) for subject, one in troubles.items() if subject not in opened])
    for subject, alert in opened.items():
        if subject not in troubles and (why := _over(subject, alert, statuses)):
            new += _close(alert, why, now)
    return new


def _troubles(status: ProviderStatus, now: datetime) -> Iterable[_Trouble]:
    provider, since = status.provider, status.breaker_since
    if since is not None and since <= now - PATIENCE:
        yield _Trouble(f"provider:{provider.pk}", "failing", provider.name, status.why, since)
    said = {one.name: one for one in status.credentials}
    for credential in _active(provider):
        one = said.get(credential.name)
        if one is not None and one.state == DEAD:
            name = f"{provider.name}/{credential.name}"
            yield _Trouble(f"credential:{credential.pk}", "rejected", name, one.why, one.since or now)


def _over(subject: str, alert: Alert, statuses: dict[int, ProviderStatus]) -> str:
    """Why a trouble is over; empty where that is not known: a process that just started has nothing against anyone."""
    kind, _, pk = subject.partition(":")
    if kind == "provider":
        status = statuses.get(int(pk))
        if status is None:
            return "It is switched off or gone."
        return _again(status, alert)
    for status in statuses.values():
        for credential in _active(status.provider):
            if str(credential.pk) == pk:
                said = next((one for one in status.credentials if one.name == credential.name), None)
                return _again(said, alert) if said else ""
    return "It is switched off or gone."


def _again(status: ProviderStatus | CredentialStatus, alert: Alert) -> str:
    since = alert.period_start or alert.created_at
    answered = status.answered_at
    return f"It answered at {answered:%Y-%m-%d %H:%M:%S} UTC." if answered and answered > since else ""


def _active(provider: Provider) -> list[ProviderCredential]:
    return [credential for credential in provider.credentials.all() if credential.is_active]


def _found(one: _Trouble, now: datetime) -> Found:
    return Found(
        Alert(
            key=f"{one.subject}:open",
            kind=Alert.Kind.PROVIDER,
            created_at=now,
            target_name=one.name,
            event=one.event,
            note=one.why[:900],
            period_start=one.since,
        )
    )


def _close(alert: Alert, why: str, now: datetime) -> list[Alert]:
    """Set the end of an open alert and tell of it. Race: of two workers that find it over one changes the row."""
    subject = _subject(alert)
    with transaction.atomic():
        closed = Alert.objects.filter(pk=alert.pk, key=alert.key).update(key=f"{subject}:{alert.pk}", period_end=now)
        if not closed:
            return []
        over = Alert(
            key=f"{subject}:{alert.pk}:over",
            kind=Alert.Kind.PROVIDER,
            created_at=now,
            target_name=alert.target_name,
            event=_OVER[alert.event],
            note=why,
            period_start=alert.period_start,
            period_end=now,
        )
        return record([Found(over)])


def _subject(alert: Alert) -> str:
    return alert.key.removesuffix(":open")
