"""Routing rules of the file and the weights of the complexity score."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.core.exceptions import ValidationError

from governance.configuration import schema
from governance.configuration.errors import problem
from governance.configuration.writer import Writer
from governance.models import Customer, RoutingRule, RoutingSettings, Team, VirtualKey
from governance.services.routing import STEP, Target, scope_of, stored

_TARGETS = ("customer", "team", "virtual_key")


def put_routes(writer: Writer, document: schema.Document) -> None:
    for index, route in enumerate(document.routes):
        _put_route(writer, route, index, f"routes[{index}]")
    weights = document.complexity_weights
    if weights is not None:
        writer.put(
            RoutingSettings.objects.first() or RoutingSettings(),
            label="complexity score",
            path="complexity_weights",
            values={"complexity_weights": {name: _number(weight) for name, weight in weights.items()}},
        )


def _put_route(writer: Writer, said: schema.Route, index: int, path: str) -> None:
    writer.once("route", said.name.lower(), path)
    rule = RoutingRule.objects.filter(name__iexact=said.name).first() or RoutingRule()
    scope = scope_of(_target(said, path))
    position = (index + 1) * STEP if said.position is None else said.position
    rule.fill_tenancy()
    writer.put(
        rule,
        label=f"route {said.name}",
        path=path,
        values={
            "name": said.name,
            **scope,
            **_tenancy(scope),
            "position": position,
            "description": said.description,
            "condition": said.condition,
            "targets": _stored(said.targets, rule.targets, f"{path}.targets"),
            "fallbacks": _stored(said.fallbacks, rule.fallbacks, f"{path}.fallbacks"),
            "deny": said.deny,
            "set_headers": said.set_headers,
            "max_tokens": said.max_tokens or None,
            "on_rate_limit": said.on_rate_limit,
            "hedge_ms": said.hedge_ms or None,
            "is_active": said.active,
        },
        emptied=[
            *(name for name in _TARGETS if name not in {**scope, **_tenancy(scope)}),
            *(name for name in ("max_tokens", "hedge_ms") if getattr(said, name) == 0),
        ],
    )


def _tenancy(scope: dict[str, Any]) -> dict[str, Any]:
    """The columns that follow from the target."""
    match scope:
        case {"team": Team() as team}:
            return {"customer": team.customer}
        case {"virtual_key": VirtualKey() as key}:
            return {"customer": key.team.customer, "team": key.team}
    return {}


def _target(said: schema.Route, path: str) -> Target | None:
    if said.customer is None:
        if said.team or said.key:
            raise problem(f"{path}.customer", "is missing: whose team or key is it?")
        return None
    customer = Customer.objects.filter(name__iexact=said.customer).first()
    if customer is None:
        raise problem(f"{path}.customer", f"there is no customer {said.customer!r}.")
    if said.team is None:
        if said.key:
            raise problem(f"{path}.team", "is missing: which team's key is it?")
        found: Target = customer
        return found
    team: Team | None = customer.teams.filter(name__iexact=said.team).first()
    if team is None:
        raise problem(f"{path}.team", f"{customer.name} has no team {said.team!r}.")
    if said.key is None:
        return team
    key: VirtualKey | None = team.keys.filter(name__iexact=said.key).first()
    if key is None:
        raise problem(f"{path}.key", f"{customer.name}/{team.name} has no key {said.key!r}.")
    return key


def _stored(
    targets: Iterable[schema.RouteTarget] | None, before: list[dict[str, Any]], path: str
) -> list[dict[str, Any]] | None:
    if targets is None:
        return None
    given = [
        {"provider": target.provider, "model": target.model, "weight": _number(target.weight) if target.weight else 1}
        for target in targets
    ]
    try:
        return stored(given, before)
    except ValidationError as error:
        raise problem(path, error.messages[0]) from None


def _number(value: Any) -> int | float:
    return int(value) if value == int(value) else float(value)
