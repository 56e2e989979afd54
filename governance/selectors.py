"""Reads for people: how budgets stand, and whether a key works. Amounts are nano-dollars, moments are UTC."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from django.db.models import Q, QuerySet, Sum

from governance import ledger
from governance.domain.access import matches
from governance.domain.money import show_usd
from governance.domain.windows import Window, window_at
from governance.effective import InForce, limits_in_force
from governance.models import AllowanceWindow, Budget, LedgerEntry, ProviderAccess, VirtualKey

THIN_HISTORY = 0.03
"""Share of a period that must be over before its run rate says anything."""
NEAR_NANO_USD = 10 * 10**9
"""A hard budget with less left may refuse one request of a coding agent, whose worst case is some dollars."""


@dataclass(frozen=True, slots=True)
class BudgetStatus:
    """One budget in its current period. `state`: ok, at_risk, blocked, over (a watched budget past its limit), off."""

    budget: Budget
    window: Window
    spent: int
    held: int
    forecast: int | None
    """Linear run rate to the end of the period; None where there is no end or too little history."""
    runs_out_at: datetime | None
    """When the limit is reached at this rate, within the period."""
    state: str
    in_force: InForce

    @property
    def limit(self) -> int:
        """In force now: the base, what the last period left over, and raises."""
        return self.in_force.total

    @property
    def remaining(self) -> int:
        """Never below zero; what is over the limit is on the bar."""
        return max(0, self.limit - self.spent - self.held)

    @property
    def share(self) -> float:
        """What is spent and held, as a share of the limit; a limit of zero counts as used up."""
        return (self.spent + self.held) / self.limit if self.limit else 1.0

    @property
    def may_refuse(self) -> str:
        """A sentence where a hard budget has room, and yet so little that a dear request may not fit; else empty."""
        near = self.share >= 0.9 or self.remaining < NEAR_NANO_USD
        if self.budget.enforcement != Budget.Enforcement.HARD or self.state in {"off", "blocked"} or not near:
            return ""
        return f"A request may be refused when it could cost more than the {show_usd(self.remaining)} left."

    @property
    def counts_all(self) -> bool:
        """It counts every request of its target, not those of some models or through one provider only."""
        return not self.budget.model_patterns and self.budget.provider_access is None

    @property
    def mode(self) -> str:
        """What happens at the limit, in a word."""
        return {"hard": "Hard", "stop": "Block", "observe": "Watch"}[self.budget.enforcement]

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.budget.timezone or self.budget.customer.timezone)

    @property
    def resets_on(self) -> str:
        """The day of the reset in the budget's own zone, or why there is none."""
        if self.budget.rolling:
            return "rolls on"
        return f"{self.resets_at:%Y-%m-%d}" if self.resets_at else "never"

    @property
    def resets_at(self) -> datetime | None:
        """End of the period in the budget's own zone; None where it never ends or rolls."""
        ends = None if self.budget.rolling else self.window.ends_at
        return ends.astimezone(self.zone) if ends else None


@dataclass(frozen=True, slots=True)
class KeyStatus:
    """Whether a key works now. `state`: works, partly, blocked, expired, revoked, off; `reason` is a sentence.

    `partly`: some models, or one of several providers, are blocked; `reason` names them, the rest works.
    """

    state: str
    reason: str
    budgets: tuple[BudgetStatus, ...] = ()
    """Every active budget that applies to it, the one nearest to its limit first."""

    @property
    def binding(self) -> BudgetStatus | None:
        return self.budgets[0] if self.budgets else None

    @property
    def usable(self) -> bool:
        """Some request can be sent with it."""
        return self.state in {"works", "partly"}


def budget_statuses(budgets: Iterable[Budget], now: datetime) -> dict[int, BudgetStatus]:
    """The status of each budget by id. Load `customer` with them."""
    rows = list(budgets)
    settled = ledger.figures(now, rows)
    in_force = limits_in_force(rows, now)
    held: dict[tuple[int, datetime], int] = {
        (row["budget_id"], row["starts_at"]): row["total"]
        for row in AllowanceWindow.objects.filter(budget__in=rows, held__gt=0)
        .values("budget_id", "starts_at")
        .annotate(total=Sum("held"))
    }
    statuses: dict[int, BudgetStatus] = {}
    for budget in rows:
        window, state = window_at(ledger.period_of(budget), now), settled[budget.pk]
        holds = held.get((budget.pk, state.starts_at), 0)
        statuses[budget.pk] = _status(budget, window, state.settled, holds, in_force[budget.pk], now)
    return statuses


def budget_status(budget: Budget, now: datetime) -> BudgetStatus:
    """The status of one budget."""
    return budget_statuses([budget], now)[budget.pk]


def budgets_on(keys: Iterable[VirtualKey]) -> QuerySet[Budget]:
    """Active budgets that may count a request of one of these keys, whoever may see them."""
    rows = list(keys)
    return Budget.objects.filter(
        Q(scope="customer", customer__in={key.team.customer_id for key in rows})
        | Q(scope="team", team__in={key.team_id for key in rows})
        | Q(scope="project", project__in={key.project_id for key in rows if key.project_id})
        | Q(scope="developer", developer__in={key.developer_id for key in rows if key.developer_id})
        | Q(virtual_key__in=[key.pk for key in rows])
        | Q(provider_access__virtual_key__in=[key.pk for key in rows]),
        is_active=True,
    ).select_related(
        "customer", "team__customer", "project__customer", "developer", "virtual_key",
        "provider_access__virtual_key", "provider_access__provider",
    )  # fmt: skip


def key_statuses(
    keys: Iterable[VirtualKey], now: datetime, *, askable: Collection[str] | None = None
) -> dict[int, KeyStatus]:
    """Whether each key works, by id. Load `team__customer` and `developer` with them.

    `askable`: the reader raises no limit, and asks for more of budgets of these scopes; None: may raise any.
    """
    rows = list(keys)
    statuses = budget_statuses(budgets_on(rows), now)
    by_target: Mapping[tuple[str, int], list[BudgetStatus]] = defaultdict(list)
    for status in statuses.values():
        budget = status.budget
        if budget.provider_access is not None:
            by_target["virtual_key", budget.provider_access.virtual_key_id].append(status)
        else:
            by_target[budget.scope, getattr(budget, f"{budget.scope}_id")].append(status)
    accesses = _accesses(rows, statuses.values())
    found: dict[int, KeyStatus] = {}
    for key in rows:
        targets = (
            ("customer", key.team.customer_id),
            ("team", key.team_id),
            ("project", key.project_id),
            ("developer", key.developer_id),
            ("virtual_key", key.pk),
        )
        applying = [status for scope, pk in targets if pk for status in by_target.get((scope, pk), [])]
        applying.sort(key=lambda status: status.share, reverse=True)
        state, reason = _key_state(key, applying, accesses.get(key.pk, set()), now, askable)
        found[key.pk] = KeyStatus(state, reason, tuple(applying))
    return found


def spent_by_key(keys: Iterable[VirtualKey], since: datetime) -> dict[int, int]:
    """What each key was charged since a moment, by id; keys without a charge are absent."""
    sums = (
        LedgerEntry.objects.filter(virtual_key_id__in=[key.pk for key in keys], occurred_at__gte=since)
        .order_by()
        .values_list("virtual_key_id")
        .annotate(total=Sum("amount_nano_usd"))
    )
    return dict(sums)


def month_start(now: datetime) -> datetime:
    """Start of the current month in UTC, the zone of lists that span several customers."""
    return now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _status(budget: Budget, window: Window, spent: int, held: int, in_force: InForce, now: datetime) -> BudgetStatus:
    limit = in_force.total
    forecast = runs_out_at = None
    if window.ends_at is not None and not budget.rolling:
        passed, whole = now - window.starts_at, window.ends_at - window.starts_at
        if passed > whole * THIN_HISTORY:
            forecast = spent * (whole // timedelta(seconds=1)) // max(1, passed // timedelta(seconds=1))
            if spent and spent < limit <= forecast:
                runs_out_at = window.starts_at + passed * (limit / spent)
    used_up = spent + held >= limit
    if not budget.is_active:
        state = "off"
    elif used_up:
        state = "over" if budget.enforcement == Budget.Enforcement.OBSERVE else "blocked"
    elif runs_out_at is not None or spent + held >= limit * 0.9:
        state = "at_risk"
    else:
        state = "ok"
    return BudgetStatus(budget, window, spent, held, forecast, runs_out_at, state, in_force)


def _accesses(keys: list[VirtualKey], statuses: Iterable[BudgetStatus]) -> dict[int, set[int]]:
    """Ids of every provider access of each key; read only where a budget of one is used up."""
    if not any(status.state == "blocked" and status.budget.provider_access is not None for status in statuses):
        return {}
    found: dict[int, set[int]] = defaultdict(set)
    rows = ProviderAccess.objects.filter(virtual_key__in=[key.pk for key in keys], provider__is_active=True)
    for pk, key_id in rows.values_list("pk", "virtual_key_id"):
        found[key_id].add(pk)
    return dict(found)


def _key_state(
    key: VirtualKey,
    budgets: list[BudgetStatus],
    accesses: set[int],
    now: datetime,
    askable: Collection[str] | None,
) -> tuple[str, str]:
    """The state and its sentence; `accesses` are those of the key, if a budget of one is used up."""
    team, developer = key.team, key.developer
    if key.revoked_at is not None:
        why = f": {key.revoked_reason}" if key.revoked_reason else ""
        return "revoked", f"Revoked on {key.revoked_at:%Y-%m-%d %H:%M} UTC{why}. Issue a new key instead."
    if key.expires_at is not None and key.expires_at <= now:
        return "expired", f"Expired on {key.expires_at:%Y-%m-%d %H:%M} UTC. Give it a later expiry or issue a new key."
    for row, kind in ((team.customer, "customer"), (team, "team"), (developer, "developer")):
        if row is not None and not row.is_active:
            return "off", f"The {kind} {row} is switched off; switch it on to let this key work."
    used_up = [status for status in budgets if status.state == "blocked"]
    if not used_up:
        return "works", "Works."
    closed = {status.budget.provider_access_id for status in used_up if not status.budget.model_patterns}
    for status in used_up:
        patterns, access = tuple(status.budget.model_patterns), status.budget.provider_access_id
        # Every model that the key may ask for, and every provider that it may use.
        models = not patterns or (key.model_patterns and all(matches(patterns, one) for one in key.model_patterns))
        if models and (access is None or accesses <= closed):
            return "blocked", f"Blocked{_part(status)} {_by(status, askable)}."
    told = [f"Blocked{_part(status)} {_by(status, askable)}." for status in used_up]
    return "partly", f"{' '.join(told)} Everything else works."


def _part(status: BudgetStatus) -> str:
    """What of a key's requests a budget counts, where it is not all: ` for claude-opus-*`, ` through bedrock`."""
    budget = status.budget
    models = f" for {', '.join(budget.model_patterns)}" if budget.model_patterns else ""
    return models + (f" through {budget.provider_access.provider}" if budget.provider_access is not None else "")


def _by(status: BudgetStatus, askable: Collection[str] | None) -> str:
    until = f"{status.resets_at:%Y-%m-%d %H:%M %Z}" if status.resets_at else "its limit is raised"
    scope = status.budget.get_scope_display().lower()
    way = "; or raise its limit"
    if askable is not None:
        way = "; or ask for more below" if status.budget.scope in askable else ""
    return f"by {scope} budget “{status.budget}” until {until}{way}"
