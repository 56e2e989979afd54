"""Routing rules: create, change, move and delete, each with its audit entry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from governance.domain.cel import BadCondition
from governance.domain.facts import LANGUAGE
from governance.domain.routing import SCOPES
from governance.models import Customer, Provider, RoutingRule, RoutingSettings, Team, VirtualKey
from governance.services.audit import Actor
from governance.services.records import save_with_audit, subject

Target = Customer | Team | VirtualKey
STEP = 10
"""Between the positions of neighbours, so that one can be put between them."""


def create_rule(
    *, name: str, target: Target | None = None, actor: Actor, actor_name: str = "", **values: Any
) -> RoutingRule:
    """A new rule for a customer, team or key, or for everybody. Raises ValidationError."""
    rule = RoutingRule(name=name, **scope_of(target), **values)
    return save_with_audit(instance=rule, actor=actor, actor_name=actor_name)


def change(*, rule: RoutingRule, actor: Actor, actor_name: str = "", **values: Any) -> RoutingRule:
    """Set the given columns. Raises ValidationError."""
    for column, value in values.items():
        setattr(rule, column, value)
    return save_with_audit(instance=rule, actor=actor, actor_name=actor_name, fields=values)


def move(*, rule: RoutingRule, up: bool, actor: Actor) -> bool:
    """Put a rule before or after its neighbour of the same scope and target; False where there is none."""
    with transaction.atomic():
        beside = list(
            RoutingRule.objects.select_for_update(no_key=True)
            .filter(scope=rule.scope, **{f"{rule.scope}_id": rule.target.pk} if rule.target else {})
            .order_by("position", "pk")
        )
        at = next(index for index, row in enumerate(beside) if row.pk == rule.pk)
        other = at + (-1 if up else 1)
        if not 0 <= other < len(beside):
            return False
        beside[at], beside[other] = beside[other], beside[at]
        for number, row in enumerate(beside, 1):
            if row.position != number * STEP:
                row.position = number * STEP
                save_with_audit(instance=row, actor=actor, action="routing_rule.moved", fields=["position"])
    return True


def set_weights(*, weights: Mapping[str, float], actor: Actor, actor_name: str = "") -> RoutingSettings:
    """The weights of the complexity score. Raises ValidationError."""
    settings = RoutingSettings.objects.first() or RoutingSettings()
    settings.complexity_weights = dict(weights)
    return save_with_audit(instance=settings, actor=actor, actor_name=actor_name)


def scope_of(target: Target | None) -> dict[str, Any]:
    """The columns that say whom a rule is for."""
    if target is None:
        return {"scope": RoutingRule.Scope.GLOBAL}
    scope = subject(target)
    return {"scope": scope, scope: target}


def stored(targets: Iterable[Mapping[str, Any]], before: Iterable[Mapping[str, Any]] = ()) -> list[dict[str, Any]]:
    """Targets with their providers by name, as the columns hold them. Raises ValidationError naming an unknown one.

    A provider that is gone stays as the rule names it already, in `before`: its export can be applied again.
    """
    gone = {str(target.get("provider", "")).lower(): target for target in before if target.get("provider_id")}
    providers = {provider.name.lower(): provider for provider in Provider.objects.all()}
    rows = []
    for given in targets:
        row: dict[str, Any] = {}
        if name := given.get("provider"):
            provider = providers.get(str(name).lower())
            if provider is None and (old := gone.get(str(name).lower())):
                row = {"provider_id": old["provider_id"], "provider": old["provider"]}
            elif provider is None:
                known = ", ".join(each.name for each in providers.values()) or "none"
                raise ValidationError(f"There is no provider {name!r}. Known: {known}.")
            else:
                row = {"provider_id": provider.pk, "provider": provider.name}
        if model := given.get("model"):
            row["model"] = model
        if (weight := given.get("weight", 1)) != 1:
            row["weight"] = weight
        rows.append(row)
    return rows


def in_order(rules: Iterable[RoutingRule]) -> list[RoutingRule]:
    """Rules as they are looked at, those of a whole scope together: keys, teams, customers, everybody."""
    return sorted(
        rules,
        key=lambda rule: (
            SCOPES.index(rule.scope),
            rule.customer.name.lower() if rule.customer else "",
            rule.team.name.lower() if rule.team else "",
            rule.virtual_key.name.lower() if rule.virtual_key else "",
            rule.position,
            rule.pk,
        ),
    )


def named(targets: Iterable[Mapping[str, Any]], names: Mapping[int, str]) -> list[dict[str, Any]]:
    """The other way round, with the names that the providers (by id) have now."""
    rows = []
    for target in targets:
        row: dict[str, Any] = {}
        if (pk := target.get("provider_id")) is not None:
            row["provider"] = names.get(pk, target.get("provider", ""))
        row |= {name: target[name] for name in ("model", "weight") if name in target}
        rows.append(row)
    return rows


def provider_names() -> dict[int, str]:
    return dict(Provider.objects.values_list("pk", "name"))


def problem(rule: RoutingRule, providers: Mapping[int, bool]) -> str:
    """Why a rule does not do what it says, in a sentence; empty where it does. `providers`: whether each is active."""
    try:
        LANGUAGE.compile(rule.condition)
    except BadCondition as error:
        return f"Its condition cannot be read any more: {error} The rule is left out."
    for target in (*rule.targets, *rule.fallbacks):
        pk = target.get("provider_id")
        if pk is None or providers.get(pk):
            continue
        name = target.get("provider") or "a provider"
        return f"{name} is switched off: left out." if pk in providers else f"{name} is gone: left out."
    return ""
