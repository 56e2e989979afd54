"""The database as a configuration file: what `apply` would report no change for. Secrets are never in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import yaml
from django.db import models

from governance.configuration.limits import WEEK_STARTS
from governance.domain.money import nano_to_usd
from governance.domain.provider_kinds import KINDS
from governance.models import (
    Budget,
    Customer,
    Developer,
    Project,
    Provider,
    ProviderCredential,
    RateLimit,
    RoutingRule,
    RoutingSettings,
    Team,
    VirtualKey,
)
from governance.services.budgets import Target
from governance.services.records import subject
from governance.services.routing import in_order, named, provider_names

_HEADER = """\
# Comptroller's configuration; `manage.py apply` takes it back.
# Secrets are not in it: a credential without secret_env keeps its stored secret here and needs one elsewhere;
# a key made from this file elsewhere gets a new secret. Revoked keys are left out.
"""

_WEEK_DAYS = {day: name for name, day in WEEK_STARTS.items()}


class _Dumper(yaml.SafeDumper):
    """Indents lists, keeps the order of fields, writes amounts without exponent."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        return super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _amount(dumper: yaml.SafeDumper, value: Decimal) -> yaml.Node:
    digits = f"{value.normalize():f}"
    return dumper.represent_scalar(f"tag:yaml.org,2002:{'float' if '.' in digits else 'int'}", digits)


_Dumper.add_representer(Decimal, _amount)


def export() -> str:
    """The whole configuration as YAML."""
    names = provider_names()
    document = {
        "providers": [_provider(provider) for provider in Provider.objects.prefetch_related("credentials")],
        "customers": [_customer(customer) for customer in Customer.objects.all()],
        "projects": [_project(project) for project in Project.objects.select_related("customer", "team")],
        "routes": [_route(row, names) for row in in_order(RoutingRule.objects.select_related(*_ROUTE_TARGETS))],
        **_filled(complexity_weights=_weights()),
    }
    body = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    return _HEADER + body


def _provider(row: Provider) -> dict[str, Any]:
    return {
        "name": row.name,
        "kind": row.kind,
        **_unless_default(
            row, "base_url", "region", "project", "options", "rank", models="model_map", active="is_active"
        ),
        "credentials": [_credential(credential) for credential in row.credentials.all()],
    }


def _credential(row: ProviderCredential) -> dict[str, Any]:
    # How it proves who calls is always said: what is usual of the kind may depend on a secret that is not in the file.
    method = {"method": row.method} if KINDS[row.provider.kind].methods else {}
    limits = ("requests_per_minute", "tokens_per_minute", "concurrent")
    return {
        "name": row.name,
        **method,
        **_unless_default(row, "identifier", "secret_env", "weight", *limits, active="is_active"),
    }


def _customer(row: Customer) -> dict[str, Any]:
    return {
        "name": row.name,
        "timezone": row.timezone,
        **_unless_default(row, "content_policy", "unpriced_policy", "contact", active="is_active"),
        **_reserve(row),
        **_limits(row),
        "teams": [_team(team) for team in row.teams.all()],
        **_filled(developers=[_developer(person) for person in row.developers.select_related("team")]),
    }


def _reserve(row: Customer) -> dict[str, Any]:
    reserve = row.emergency_reserve_nano_usd
    return {"emergency_reserve_usd": nano_to_usd(reserve)} if reserve else {}


def _team(row: Team) -> dict[str, Any]:
    keys = row.keys.filter(revoked_at__isnull=True).select_related("developer", "project")
    return {
        "name": row.name,
        **_unless_default(row, "cost_center", "model_aliases", active="is_active"),
        **_limits(row),
        "keys": [_key(key) for key in keys],
    }


def _developer(row: Developer) -> dict[str, Any]:
    return {
        "email": row.email,
        **_filled(name=row.name, team=row.team.name if row.team else ""),
        **_unless_default(row, active="is_active"),
        **_limits(row),
    }


def _project(row: Project) -> dict[str, Any]:
    return {
        "customer": row.customer.name,
        "name": row.name,
        **_filled(team=row.team.name if row.team else ""),
        **_unless_default(row, "directories", active="is_active"),
        **_limits(row),
    }


def _key(row: VirtualKey) -> dict[str, Any]:
    return {
        "name": row.name,
        **_filled(
            developer=row.developer.email if row.developer else "",
            project=row.project.name if row.project else "",
            expires_at=row.expires_at.isoformat() if row.expires_at else "",
        ),
        **_unless_default(row, "model_aliases", "allowed_ips", "content_policy", models="model_patterns"),
        **_limits(row),
        **_filled(
            providers=[
                {
                    "name": access.provider.name,
                    **_unless_default(access, "weight", models="model_patterns"),
                    **_limits(access),
                }
                for access in row.accesses.select_related("provider").order_by("provider__name")
            ]
        ),
    }


_ROUTE_TARGETS = ("customer", "team__customer", "virtual_key__team__customer")


def _route(row: RoutingRule, names: Mapping[int, str]) -> dict[str, Any]:
    return {
        "name": row.name,
        **_filled(
            customer=row.customer.name if row.customer else "",
            team=row.team.name if row.team else "",
            key=row.virtual_key.name if row.virtual_key else "",
        ),
        "position": row.position,
        **_filled(description=row.description),
        "condition": row.condition,
        **_filled(targets=named(row.targets, names), fallbacks=named(row.fallbacks, names)),
        **_unless_default(row, "deny", "set_headers", "max_tokens", "on_rate_limit", "hedge_ms", active="is_active"),
    }


def _weights() -> dict[str, Any]:
    settings = RoutingSettings.objects.first()
    return dict(settings.complexity_weights) if settings else {}


def _limits(target: Target) -> dict[str, Any]:
    scope = subject(target)
    mine = {"scope": scope, scope: target}
    return _filled(
        budgets=[_budget(row) for row in Budget.objects.filter(**mine).order_by("pk")],
        rate_limits=[_rate_limit(row) for row in RateLimit.objects.filter(**mine).order_by("pk")],
    )


def _budget(row: Budget) -> dict[str, Any]:
    week_start = {} if row.week_start == 0 else {"week_start": _WEEK_DAYS[row.week_start]}
    return {
        **_filled(name=row.name),
        "limit_usd": nano_to_usd(row.limit_nano_usd),
        "period": row.period,
        **_unless_default(row, "rolling", "timezone", "fiscal_start_month", "alerts", models="model_patterns"),
        **week_start,
        "enforcement": row.enforcement,
        **_unless_default(
            row,
            "carry_over",
            "owner_email",
            "approver_email",
            "downgrade_at",
            "downgrade",
            "throttle_at",
            "throttle_concurrent",
            active="is_active",
        ),
    }


def _rate_limit(row: RateLimit) -> dict[str, Any]:
    return {
        row.unit: row.limit,
        **_filled(per=row.per),
        **_unless_default(row, "enforcement", models="model_patterns", active="is_active"),
    }


def _unless_default(row: models.Model, *same: str, **renamed: str) -> dict[str, Any]:
    """The fields of a row that differ from what a new row would have."""
    columns = {**{name: name for name in same}, **renamed}
    new, values = type(row)(), {}
    for name, column in columns.items():
        value = getattr(row, column)
        if value != getattr(new, column):
            values[name] = Decimal(repr(value)) if isinstance(value, float) else value
    return values


def _filled(**values: str | Iterable[Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}
