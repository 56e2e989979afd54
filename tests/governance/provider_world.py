"""Providers with what gateway processes tell of them, for the tests of states, alarms, admin and API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils import timezone

from governance.models import GatewayProcess, Provider, ProviderCredential
from governance.services.provider_states import Told, publish

SINCE = datetime(2026, 11, 28, 12, tzinfo=UTC)
ONE, TWO = "01JDXYZ0000000000000000001", "01JDXYZ0000000000000000002"


def provider(name: str = "anthropic", **values: Any) -> Provider:
    made: Provider = Provider.objects.create(name=name, **{"kind": "anthropic", **values})
    if made.kind != "simulated":
        ProviderCredential.objects.create(provider=made, name="main", secret_env="ANTHROPIC_API_KEY")
    return made


def process(pk: str = ONE, silent: timedelta = timedelta(0)) -> str:
    now = timezone.now()
    GatewayProcess.objects.create(pk=pk, host="gw-1", pid=7, started_at=now, seen_at=now - silent)
    return pk


def credential(state: str = "ready", **values: Any) -> dict[str, Any]:
    return {
        "name": "main", "state": state, "why": "", "since": None, "until": None, "running": 0, "last_error": "",
        "last_error_at": None, "answered_at": None, **values,
    }  # fmt: skip


def tell(pk: str, of: Provider, state: str = "up", *credentials: dict[str, Any], **values: Any) -> None:
    """What a process says of one provider; it says nothing of others any more."""
    told = Told(of.pk, state, values.pop("why", ""), values.pop("since", SINCE), credentials=credentials, **values)
    publish(pk, [told])


def dead(since: datetime = SINCE, **values: Any) -> dict[str, Any]:
    why = "rejected with 401 at 12:00:00 UTC"
    return credential("dead", why=why, since=since.isoformat(), **values)
