"""Budgets and rate limits of the file: each is known again by what it limits, for how long and for which models."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from decimal import Decimal
from typing import Any, TypeVar

from governance.configuration import schema
from governance.configuration.errors import problem
from governance.configuration.writer import Writer
from governance.domain.money import show_usd, usd_to_nano
from governance.models import Budget, RateLimit, ScopedLimit
from governance.services.budgets import Target
from governance.services.records import subject

Limit = TypeVar("Limit", bound=ScopedLimit)

WEEK_STARTS = {"monday": 0, "sunday": 6}


def put_limits(writer: Writer, target: Target, said: schema.Limited, *, label: str, path: str) -> None:
    """Create or change the budgets and rate limits that the file names for `target`."""
    find_budget = _finder(Budget.objects.all(), target, budget_identity)
    for index, budget in enumerate(said.budgets):
        _put_budget(writer, target, budget, find_budget, label, f"{path}.budgets[{index}]")
    find_limit = _finder(RateLimit.objects.all(), target, rate_limit_identity)
    for index, limit in enumerate(said.rate_limits):
        _put_rate_limit(writer, target, limit, find_limit, label, f"{path}.rate_limits[{index}]")


def budget_identity(row: Budget) -> Hashable:
    return row.period, row.rolling, frozenset(row.model_patterns)


def rate_limit_identity(row: RateLimit) -> Hashable:
    return row.unit, row.per, frozenset(row.model_patterns)


def _put_budget(
    writer: Writer,
    target: Target,
    said: schema.Budget,
    find: Callable[[Budget], Budget | None],
    label: str,
    path: str,
) -> None:
    limit = nano(said.limit_usd, f"{path}.limit_usd")
    new = Budget(
        **_scope(target), period=said.period, rolling=said.rolling, model_patterns=said.models, limit_nano_usd=limit
    )
    writer.put(
        find(new) or new,
        label=f"budget of {label}, {_period(said)}{_models(said.models)}, {show_usd(limit)}",
        path=path,
        values={
            "limit_nano_usd": limit,
            "name": said.name,
            "enforcement": said.enforcement,
            "timezone": said.timezone,
            "week_start": said.week_start and WEEK_STARTS[said.week_start],
            "fiscal_start_month": said.fiscal_start_month,
            "carry_over": said.carry_over,
            "alerts": said.alerts,
            "owner_email": said.owner_email,
            "approver_email": said.approver_email,
            "downgrade_at": said.downgrade_at or None,
            "downgrade": said.downgrade,
            "throttle_at": said.throttle_at or None,
            "throttle_concurrent": said.throttle_concurrent,
            "is_active": said.active,
        },
        emptied=[name for name in ("downgrade_at", "throttle_at") if getattr(said, name) == 0],
    )


def _put_rate_limit(
    writer: Writer,
    target: Target,
    said: schema.RateLimit,
    find: Callable[[RateLimit], RateLimit | None],
    label: str,
    path: str,
) -> None:
    named = {unit: getattr(said, unit) for unit in RateLimit.Unit.values if getattr(said, unit) is not None}
    if len(named) != 1:
        raise problem(path, "name exactly one of requests, tokens and concurrent.")
    ((unit, limit),) = named.items()
    if (unit == RateLimit.Unit.CONCURRENT) != (said.per is None):
        sentence = "leave the period out: concurrent has none." if said.per else f"{unit} need a period."
        raise problem(f"{path}.per", sentence)
    per = said.per or ""
    new = RateLimit(**_scope(target), unit=unit, per=per, model_patterns=said.models, limit=limit)
    writer.put(
        find(new) or new,
        label=f"rate limit of {label}, {unit}{f' per {per}' if per else ''}{_models(said.models)}",
        path=path,
        values={"limit": limit, "enforcement": said.enforcement, "is_active": said.active},
    )


def nano(usd: Decimal, path: str) -> int:
    """An amount of the file in nano-dollars. Raises ConfigurationError."""
    try:
        return usd_to_nano(usd)
    except ValueError as error:
        raise problem(path, f"{error}.") from None


def _finder(rows: Any, target: Target, identity: Callable[[Limit], Hashable]) -> Callable[[Limit], Limit | None]:
    """Find a row of the target with the same identity.

    The admin may have made two alike: the file's first then means the older, its second the younger.
    """
    free: list[Limit] = list(rows.filter(**_scope(target)).order_by("pk")) if target.pk else []

    def find(new: Limit) -> Limit | None:
        for row in free:
            if identity(row) == identity(new):
                free.remove(row)
                return row
        return None

    return find


def _scope(target: Target) -> dict[str, Any]:
    scope = subject(target)
    return {"scope": scope, scope: target}


def _period(said: schema.Budget) -> str:
    if said.rolling:
        return f"last {said.rolling} {said.period}s"
    return "lifetime" if said.period == "lifetime" else f"per {said.period}"


def _models(patterns: Iterable[str]) -> str:
    told = ", ".join(patterns)
    return f" ({told})" if told else ""
