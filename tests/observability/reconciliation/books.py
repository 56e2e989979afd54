"""Requests as the data plane leaves them, priced by the catalog, and reports that say the same as they do."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from ulid import ULID

from governance.catalog import price_book
from governance.domain.usage import Usage
from governance.models import Customer, LedgerEntry, Price, Provider, ProviderCredential, Team, VirtualKey
from observability.models import Request
from observability.reconciliation.ours import our_day

DAY = date(2026, 11, 18)
NOON = datetime(2026, 11, 18, 12, tzinfo=UTC)
LATER = datetime(2026, 11, 22, 12, tzinfo=UTC)
OPUS, HAIKU = "claude-opus-5-5", "claude-haiku-5-5"


class Books:
    """One customer with a key, two models, an Anthropic provider with two credentials and a simulated one."""

    def __init__(self) -> None:
        self.acme = Customer.objects.create(name="Acme", timezone="Europe/Berlin")
        self.core = Team.objects.create(customer=self.acme, name="Core")
        self.key = VirtualKey.objects.create(team=self.core, name="ada-laptop")
        self.anthropic = Provider.objects.create(name="anthropic", kind=Provider.Kind.ANTHROPIC)
        self.main, self.ci = (
            ProviderCredential.objects.create(provider=self.anthropic, name=name) for name in ("main", "ci")
        )
        Provider.objects.create(name="simulated", kind=Provider.Kind.SIMULATED)
        for model, rates in ((OPUS, "4 20 0.40 5 8"), (HAIKU, "0.10 0.50 0.01 0.125 0.20")):
            names = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h")
            Price.objects.get_or_create(
                platform=Price.Platform.ANTHROPIC,
                model_id=model,
                effective_from=datetime(2025, 1, 1, tzinfo=UTC),
                defaults={**dict(zip(names, map(Decimal, rates.split()), strict=True)), "web_search": Decimal("0.01")},
            )

    def request(self, model: str = OPUS, at: datetime = NOON, *, posted: bool = True, **values: Any) -> Request:
        """A request and its ledger entry; `values` are columns, the cost follows from the usage where not given."""
        names = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h")
        usage = {f"{name}_tokens": values.pop(name, 0) for name in names}
        usage["web_searches"] = values.pop("web_searches", 0)
        tiers = {name: values[name] for name in ("speed", "inference_geo", "service_tier") if name in values}
        cost = price_book().charge("anthropic", model, Usage(**usage, **tiers), at)
        columns: dict[str, Any] = {
            "id": str(ULID()), "started_at": at, "finished_at": at + timedelta(seconds=2), "status": "success",
            "customer": "Acme", "customer_id": self.acme.pk, "team": "Core", "team_id": self.core.pk,
            "virtual_key": "ada-laptop", "virtual_key_id": self.key.pk, "provider": "anthropic",
            "provider_credential": "main", "model": model, "cost_nano_usd": cost.nano_usd, "price_id": cost.price_id,
            **usage, **values,
        }  # fmt: skip
        row = Request.objects.create(**columns)
        if posted:
            self.post(row.pk, at, row.cost_nano_usd, model=model)
        return row

    def post(self, id_: str, at: datetime, nano: int, *, model: str = OPUS) -> LedgerEntry:
        return LedgerEntry.objects.create(
            id=id_, request_id=id_, occurred_at=at, customer_id=self.acme.pk, team_id=self.core.pk,
            virtual_key_id=self.key.pk, model=model, amount_nano_usd=nano, tokens=1,
        )  # fmt: skip


TOKEN_TYPES = {
    "uncached_input": "uncached_input_tokens",
    "cache_read": "cache_read_input_tokens",
    "cache_write_5m": "cache_creation.ephemeral_5m_input_tokens",
    "cache_write_1h": "cache_creation.ephemeral_1h_input_tokens",
    "output": "output_tokens",
}


def reports_of(day: date, **more_cents: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Buckets of a cost and a usage report that say what our log says; `more_cents` adds to a token class."""
    cost: list[dict[str, Any]] = []
    usage: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for (model, token_class, workspace), cell in our_day(day).cells.items():
        cents = cell.usd * 100 + Decimal(more_cents.pop(token_class, "0"))
        tokens = token_class in TOKEN_TYPES
        cost.append(
            {
                "currency": "USD",
                "amount": f"{cents:f}",
                "workspace_id": workspace or None,
                "description": token_class,
                "cost_type": "tokens" if tokens else token_class,
                "model": model or None,
                "token_type": TOKEN_TYPES.get(token_class),
                "context_window": None,
                "service_tier": None,
                "inference_geo": None,
            }
        )
        usage[model or OPUS, workspace][token_class] = cell.tokens
    results = [
        {
            "model": model,
            "workspace_id": workspace or None,
            "uncached_input_tokens": counts.get("uncached_input", 0),
            "cache_read_input_tokens": counts.get("cache_read", 0),
            "cache_creation": {
                "ephemeral_5m_input_tokens": counts.get("cache_write_5m", 0),
                "ephemeral_1h_input_tokens": counts.get("cache_write_1h", 0),
            },
            "output_tokens": counts.get("output", 0),
            "server_tool_use": {"web_search_requests": counts.get("web_search", 0)},
        }
        for (model, workspace), counts in usage.items()
    ]
    bounds = {"starting_at": f"{day}T00:00:00Z", "ending_at": f"{day + timedelta(days=1)}T00:00:00Z"}
    return {**bounds, "results": cost}, {**bounds, "results": results}
