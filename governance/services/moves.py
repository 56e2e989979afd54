"""Emergency raises, transfers and resets: raises that are checked against money that is there.

Amounts are nano-dollars, moments are UTC. A transfer and a reset wait for another person like every raise; `approve`
asks `demand_unspent` and `spent_afresh` again at that moment, inside its transaction, with the budgets locked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.db.models import Q, Sum
from django.utils import timezone

from governance import ledger, watched
from governance.domain.money import show_usd
from governance.domain.windows import Period, Window, window_at
from governance.models import AllowanceWindow, Budget, Customer, Raise
from governance.raises import in_force
from governance.selectors import BudgetStatus, budget_status
from governance.services.raise_rows import demand_fit, demand_visible, new_row, save_new

Status = Raise.Status
RESERVE = "the emergency reserve"
"""Who decided about an emergency raise: the rule that the customer's limit of it is."""


def emergency(
    *, budget: Budget, amount_nano_usd: int, reason: str, actor: Any, ends_at: datetime | None = None
) -> Raise:
    """Raise at once, without a second person, out of what the customer's reserve of this month still has.

    It ends with the budget's current period at the latest, so that it adds its amount once; where that never ends,
    with the customer's calendar month. A budget that looks back over the last days has no end at which its amount
    stops counting anew, so it takes none. Raises ValidationError where the reserve does not reach, PermissionDenied
    where the actor may not.
    """
    if not actor.has_perm("governance.emergency_raise"):
        raise PermissionDenied("Your roles lack the permission “governance.emergency_raise”. Ask for a raise instead.")
    demand_visible(actor, budget)
    if budget.rolling:
        raise ValidationError(
            {
                "budget": f"{budget} looks back over the last {budget.rolling} {budget.period}s: an emergency raise "
                "would be there to spend anew as they pass, and cost more than the reserve gives. Ask for a raise "
                "instead: another person approves it."
            }
        )
    with transaction.atomic():
        # Two at once would each find the reserve untouched: the customer's row lets one of them in at a time.
        customer = Customer.objects.select_for_update(no_key=True).get(pk=budget.customer_id)
        now = timezone.now()
        latest = window_of(budget, now).ends_at or month_of(customer, now).ends_at or now
        ends_at = ends_at or latest
        if ends_at > latest:
            raise ValidationError({"ends_at": f"An emergency raise ends by {latest:%Y-%m-%d %H:%M} UTC at the latest."})
        used, reserve = reserve_used(customer, now), customer.emergency_reserve_nano_usd
        if amount_nano_usd > reserve - used:
            raise ValidationError(
                {
                    "amount_nano_usd": f"The emergency reserve of {customer} has {show_usd(max(0, reserve - used))} "
                    f"left this month ({show_usd(used)} of {show_usd(reserve)} used). Ask for a raise instead: "
                    "another person approves it. A Platform admin sets the reserve on the customer's page."
                }
            )
        demand_fit(budget, amount_nano_usd, now)
        row = new_row(
            kind=Raise.Kind.EMERGENCY,
            budget=budget,
            amount_nano_usd=amount_nano_usd,
            reason=reason,
            requester=actor,
            starts_at=now,
            ends_at=ends_at,
        )
        row.status, row.decided_at, row.decided_by_name = Status.APPROVED, now, RESERVE
        row.decision_note = f"{show_usd(used + amount_nano_usd)} of {show_usd(reserve)} used this month"
        return save_new(row, now, action="raise.emergency")


def transfer(*, source: Budget, target: Budget, amount_nano_usd: int, reason: str, requester: Any) -> Raise:
    """Ask to move an amount between two budgets of one customer, from the current period of one to that of the other.

    Gives the half that receives; the other is its `counterpart`. Each half ends with its own budget's period. Raises
    ValidationError where the amount is not unspent and unheld, or a period rolls or never ends.
    """
    demand_visible(requester, source, target)
    if source.pk == target.pk:
        raise ValidationError({"source": "Choose two different budgets."})
    if source.customer_id != target.customer_id:
        raise ValidationError({"source": "Money moves only between budgets of one customer."})
    if amount_nano_usd <= 0:
        raise ValidationError({"amount_nano_usd": "The amount must be above zero."})
    now = timezone.now()
    with transaction.atomic():
        lock_budgets(source, target)
        demand_source(source, target)
        ends = {budget.pk: _end_of_period(budget, "A transfer", now) for budget in (source, target)}
        demand_unspent(source, amount_nano_usd, now, until=max(ends.values()))
        demand_fit(target, amount_nano_usd, now)
        halves = [
            new_row(
                kind=Raise.Kind.TRANSFER,
                budget=budget,
                amount_nano_usd=amount,
                reason=reason,
                requester=requester,
                starts_at=now,
                ends_at=ends[budget.pk],
            )
            for budget, amount in ((source, -amount_nano_usd), (target, amount_nano_usd))
        ]
        for half in halves:
            save_new(half, now)
        giving, receiving = halves
        for half, other in ((giving, receiving), (receiving, giving)):
            half.counterpart = other
            half.save(update_fields=["counterpart"])
    return receiving


def reset(*, budget: Budget, reason: str, requester: Any) -> Raise:
    """Ask for a fresh start: what was spent in this period is added to the limit until the period ends.

    The ledger is never edited. The amount that counts is what is spent at the moment of approval. Raises
    ValidationError where nothing was spent, or the period rolls or never ends.
    """
    demand_visible(requester, budget)
    now = timezone.now()
    row = new_row(
        kind=Raise.Kind.RESET,
        budget=budget,
        amount_nano_usd=spent_afresh(budget, now),
        reason=reason,
        requester=requester,
        starts_at=now,
        ends_at=_end_of_period(budget, "A reset", now),
    )
    return save_new(row, now)


def lock_budgets(*budgets: Budget) -> None:
    """Hold the budgets, the configuration and the budgets' windows until the transaction ends.

    Two transfers out of one budget, or a transfer and a change of its limit, follow one another by the first; a
    lease that a process asks for meanwhile waits by the last. In this order: whoever changes a budget locks it
    before the configuration is pinned, and settlement pins it before it locks the windows.
    """
    ids = sorted({budget.pk for budget in budgets})
    list(Budget.objects.select_for_update(no_key=True).filter(pk__in=ids).order_by("pk").values_list("pk"))
    watched.pin(exclusive=True)
    list(AllowanceWindow.objects.select_for_update(no_key=True).filter(_open(ids)).order_by("pk").values_list("pk"))


def demand_source(source: Budget, target: Budget) -> None:
    """What only watches holds no money: a budget that blocks takes none from it. Raises ValidationError."""
    if source.enforcement == Budget.Enforcement.OBSERVE and target.enforcement != Budget.Enforcement.OBSERVE:
        raise ValidationError(
            {
                "source": f"{source} only watches: its limit stops nothing, so there is no money to move into "
                f"{target}, which blocks. Choose a budget that blocks, or ask for a raise."
            }
        )


def demand_unspent(budget: Budget, amount: int, now: datetime, *, until: datetime) -> None:
    """The budget has so much that is neither spent nor held, and has it for as long as it is moved: until `until`.

    What raises add counts only where they last that long: moved on, it would outlive them. Raises ValidationError.

    Asked with `lock_budgets`: what is held is the sum of the leases, and no lease is granted before our commit, so
    what was counted as free is free then. The race that is left: a process that had read the configuration before
    our commit, and waited for our lock, is granted one more lease under the old limit. It takes no window above the
    limit it was leased under, and every later lease goes by the lowered one and finds nothing free; so the two
    budgets together can pass their sum by that one lease, which stands as spent above the limit of the one that gave.
    """
    held = AllowanceWindow.objects.filter(_open([budget.pk])).aggregate(total=Sum("held"))["total"] or 0
    status = budget_status(budget, now)
    terms = in_force([budget.pk], now).get(budget.pk, [])
    brief = sum(term.nano_usd for term in terms if now in term and term.nano_usd > 0 and term.ends_at < until)
    free = max(0, _unbounded(status) - brief - status.spent - max(status.held, held))
    if amount > free:
        over = f"; {show_usd(brief)} of that is for a shorter time than the transfer, and stays" if brief else ""
        raise ValidationError(
            {
                "amount_nano_usd": f"{budget} has {show_usd(free)} that is neither spent nor held "
                f"({show_usd(status.spent)} of {show_usd(status.limit)} is spent{over}). Move that much or less."
            }
        )


def demand_nothing_moved(row: Raise, now: datetime) -> None:
    """Ending this raise now takes back nothing that was moved to another budget meanwhile. Raises ValidationError.

    Asked with `lock_budgets`. Otherwise the limit here would stop at nothing, while there the money stays.
    """
    budget = row.budget
    if budget is None or not row.is_in_force(now):
        return
    terms = in_force([budget.pk], now).get(budget.pk, [])
    moved = -sum(term.nano_usd for term in terms if now in term and term.nano_usd < 0)
    status = budget_status(budget, now)
    left = _unbounded(status) - row.amount_nano_usd - status.spent - status.held
    if moved and left < 0:
        raise ValidationError(
            f"{show_usd(moved)} of {budget} was moved to other budgets, and {show_usd(min(moved, -left))} of that came "
            "with this raise. Transfer it back first; or let the raise end by itself."
        )


def spent_afresh(budget: Budget, now: datetime) -> int:
    """What a reset adds at this moment: spent in this period, less what earlier resets added.

    Raises ValidationError where that is nothing.
    """
    status = budget_status(budget, now)
    amount = status.spent - resets_of([status], now).get(budget.pk, 0)
    if amount <= 0:
        raise ValidationError(f"Nothing was spent of {budget} since this period, or its last reset, began.")
    return amount


def resets_of(statuses: Iterable[BudgetStatus], now: datetime) -> dict[int, int]:
    """What earlier resets added to each budget in its current period, by id; none is absent. One query."""
    starts = {status.budget.pk: status.window.starts_at for status in statuses}
    rows = Raise.objects.filter(
        budget__in=starts, kind=Raise.Kind.RESET, status=Status.APPROVED, ends_at__gt=now
    ).values_list("budget_id", "starts_at", "amount_nano_usd")
    sums: dict[int, int] = defaultdict(int)
    for budget_id, starts_at, nano_usd in rows:
        if starts_at >= starts[budget_id]:
            sums[budget_id] += nano_usd
    return dict(sums)


def reserve_used(customer: Customer, now: datetime) -> int:
    """What emergency raises took of the reserve in the customer's calendar month; those ended early count in full."""
    month = month_of(customer, now)
    rows = Raise.objects.filter(
        customer=customer, kind=Raise.Kind.EMERGENCY, starts_at__gte=month.starts_at, starts_at__lt=month.ends_at
    )
    return rows.aggregate(total=Sum("amount_nano_usd"))["total"] or 0


def month_of(customer: Customer, now: datetime) -> Window:
    """The calendar month of a moment in the customer's own zone."""
    return window_at(Period("month", customer.timezone), now)


def window_of(budget: Budget, now: datetime) -> Window:
    """The budget's current period."""
    return window_at(ledger.period_of(budget), now)


def _end_of_period(budget: Budget, what: str, now: datetime) -> datetime:
    ends_at = window_of(budget, now).ends_at
    if ends_at is None:
        why = (
            f"{budget} looks back over the last {budget.rolling} {budget.period}s: what is spent leaves it by itself."
            if budget.rolling
            else f"{budget} never ends."
        )
        raise ValidationError(
            {"budget": f"{what} is for a period that ends. {why} Ask for a raise until a day instead."}
        )
    return ends_at


def _unbounded(status: BudgetStatus) -> int:
    """The limit in force before it is cut at nothing: below zero where more was moved away than there is now."""
    parts = status.in_force
    return parts.base + parts.carried + parts.raised


def _open(budget_ids: list[int]) -> Q:
    return Q(budget__in=budget_ids) & (Q(ends_at__isnull=True) | Q(ends_at__gt=timezone.now()))
