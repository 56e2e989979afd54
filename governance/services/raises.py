"""Raises: ask for one, decide about it, end it. Money for oneself needs another person, whoever one is.

Each decision is one conditional UPDATE, so that of two people who decide at once one wins and the other is told.
Amounts are nano-dollars, moments are UTC. Emergency raises, transfers and resets are made by `moves`.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from governance.domain.money import show_usd
from governance.models import Budget, Raise
from governance.services import audit, moves
from governance.services.raise_rows import demand_fit, name_of, new_row, save_new
from governance.services.records import save_with_audit

LONGEST = timedelta(days=366)
"""A raise is for a time; what lasts longer is a change of the limit."""
Status = Raise.Status
OVER_BY_NOW = "It would be over by now: only a decline is left; who asked may ask again with a later end."
LISTED = ~Q(kind=Raise.Kind.TRANSFER, amount_nano_usd__lt=0)
"""A transfer is listed once, by the half that receives."""


def request(
    *,
    budget: Budget,
    amount_nano_usd: int,
    reason: str,
    ends_at: datetime,
    starts_at: datetime | None = None,
    requester: Any,
) -> Raise:
    """Ask for an amount above zero, from a moment (default: now) to before another. Raises ValidationError.

    The caller has checked that the requester may ask for this budget: in the admin and the API it is one they see,
    at `/me/` one that counts their own requests.
    """
    now = timezone.now()
    starts_at = max(starts_at or now, now)
    if ends_at - starts_at > LONGEST:
        raise ValidationError({"ends_at": "A raise lasts a year at most. Change the budget's limit instead."})
    demand_fit(budget, amount_nano_usd, now)
    row = new_row(
        kind=Raise.Kind.RAISE,
        budget=budget,
        amount_nano_usd=amount_nano_usd,
        reason=reason,
        requester=requester,
        starts_at=starts_at,
        ends_at=ends_at,
    )
    return save_new(row, now)


def approve(*, row: Raise, actor: Any, note: str = "", amount_nano_usd: int | None = None) -> Raise:
    """Put it in force; both halves of a transfer. `amount_nano_usd` grants less of a raise than was asked.

    A reset takes the amount that is spent at this moment; a transfer is checked against what is left at this moment
    (`moves.demand_unspent` names the race that is left). Raises ValidationError where another person was faster, or
    it is too late or too much; PermissionDenied where the actor may not decide.
    """
    now = timezone.now()
    asked = row.amount_nano_usd
    with transaction.atomic():
        halves = _halves(row)
        _demand_decider(row, halves, actor, now)
        if any(half.has_lapsed(now) for half in halves):
            raise ValidationError(OVER_BY_NOW)
        granted = _granted(row, halves, amount_nano_usd, now)
        _decide(row, halves, Status.APPROVED, actor, note, now)
        if granted != asked:
            Raise.objects.filter(pk=row.pk).update(amount_nano_usd=granted)
            row.amount_nano_usd = granted
        for half in halves:
            amount = [asked if half is row else half.amount_nano_usd, half.amount_nano_usd]
            _record(half, "raise.approved", actor, Status.REQUESTED, {"amount_nano_usd": amount}, note)
    return row


def decline(*, row: Raise, actor: Any, note: str) -> Raise:
    """Refuse it, with a note to the person who asked. Raises ValidationError, PermissionDenied as `approve`."""
    if not note.strip():
        raise ValidationError({"note": "Say why, so that who asked knows what to do next."})
    now = timezone.now()
    with transaction.atomic():
        halves = _halves(row)
        _demand_decider(row, halves, actor, now)
        _decide(row, halves, Status.DECLINED, actor, note, now)
        for half in halves:
            _record(half, "raise.declined", actor, Status.REQUESTED, {}, note)
    return row


def withdraw(*, row: Raise, actor: Any) -> Raise:
    """Take one's own request back while it waits. Raises ValidationError, PermissionDenied."""
    if row.requester_id is None or row.requester_id != actor.pk:
        raise PermissionDenied("Only who asked for it can withdraw it; others decline it.")
    now = timezone.now()
    with transaction.atomic():
        halves = _halves(row)
        # It may be decided at the same moment: the update finds it waiting for one of the two only.
        waiting = Raise.objects.filter(pk__in=[half.pk for half in halves], status=Status.REQUESTED)
        if not _all(waiting, halves, status=Status.WITHDRAWN, decided_at=now, decided_by_name=name_of(actor)):
            raise ValidationError(_already(next((half for half in halves if half.status != Status.REQUESTED), row)))
        for half in halves:
            _record(half, "raise.withdrawn", actor, Status.REQUESTED, {}, "")
    return row


def end_early(*, row: Raise, actor: Any, note: str = "") -> Raise:
    """Let the limit fall back now. Whoever asked for it may do that, and whoever may decide about it.

    What was spent meanwhile stays spent: the budget may then stand above its limit. What was moved to another budget
    meanwhile comes back first. Raises ValidationError, PermissionDenied.
    """
    if row.kind == Raise.Kind.TRANSFER:
        raise ValidationError("A transfer ends with its period. To move the money back, transfer what is left of it.")
    if row.requester_id is None or row.requester_id != actor.pk:
        _demand_right(row, [row], actor)
    with transaction.atomic():
        if row.budget is not None:
            moves.lock_budgets(row.budget)
        now = timezone.now()
        _refresh([row])
        moves.demand_nothing_moved(row, now)
        won = Raise.objects.filter(pk=row.pk, status=Status.APPROVED, ends_at__gt=now).update(
            status=Status.ENDED_EARLY, ended_at=now, ended_by_name=name_of(actor)
        )
        row.refresh_from_db()
        if not won:
            raise ValidationError(f"{row} is not in force ({state_of(row, now).lower()}): there is nothing to end.")
        _record(row, "raise.ended_early", actor, Status.APPROVED, {"ends_at": [row.ends_at, now]}, note)
    return row


def change_limit(*, budget: Budget, limit_nano_usd: int, reason: str, actor: Any) -> Budget:
    """Another limit for good, from now on, with its reason in the trail. Raises ValidationError, Vanished.

    The same as `budgets.change`, but it takes no change without a reason. Below what is spent and held nothing is
    taken back: the budget blocks until its period ends.
    """
    if not reason.strip():
        raise ValidationError({"reason": "Say why: the audit trail keeps it."})
    budget.limit_nano_usd = limit_nano_usd
    return save_with_audit(
        instance=budget, actor=actor, action="budget.limit_changed", fields=["limit_nano_usd"], note=reason.strip()
    )


def pending(user: Any) -> QuerySet[Raise]:
    """What waits for this user's decision; own requests wait for somebody else. Empty without the permission."""
    if not user.has_perm("governance.decide_raise"):
        return Raise.objects.none()
    waiting = Raise.objects.visible_to(user).filter(
        LISTED, status=Status.REQUESTED, ends_at__gt=(now := timezone.now()), budget__isnull=False
    )
    waiting = waiting.filter(Q(counterpart__isnull=True) | Q(counterpart__ends_at__gt=now))
    rows: QuerySet[Raise] = waiting.exclude(requester=user)
    return rows


def why_not(row: Raise, user: Any, now: datetime) -> str:
    """Why this user cannot decide about it now, as a sentence; empty where they can."""
    try:
        _demand_decider(row, _halves(row), user, now)
    except PermissionDenied as error:
        return str(error)
    except ValidationError as error:
        return error.messages[0]
    if row.has_lapsed(now):
        return OVER_BY_NOW
    return ""


def state_of(row: Raise, now: datetime) -> str:
    """Where it stands at a moment, in words."""
    if row.has_lapsed(now):
        return "Lapsed: nobody decided in time"
    if row.status == Status.APPROVED:
        if now >= row.ends_at:
            return "Over"
        return "In force" if row.is_in_force(now) else "Approved, begins later"
    return row.get_status_display()


def offered_end(budget: Budget, now: datetime) -> datetime | None:
    """The end to offer: that of the budget's current period; None where it rolls or never ends."""
    return moves.window_of(budget, now).ends_at


def _granted(row: Raise, halves: list[Raise], wanted: int | None, now: datetime) -> int:
    """The amount that approval puts in force; the money behind it is there, and locked. Raises ValidationError."""
    asked: int = row.amount_nano_usd
    moved = [(half.budget, half.amount_nano_usd) for half in halves if half.budget is not None]
    if len(moved) != len(halves):
        raise ValidationError("Its budget was deleted meanwhile. Decline it.")
    if wanted is not None and row.kind != Raise.Kind.RAISE and wanted != asked:
        raise ValidationError(
            {"amount_nano_usd": "Only a raise can be granted in part: decline this and say how much."}
        )
    moves.lock_budgets(*(budget for budget, _ in moved))
    _refresh(halves)
    if any(half.status != Status.REQUESTED for half in halves):
        raise ValidationError(_already(row))
    match row.kind:
        case Raise.Kind.TRANSFER:
            until = max(half.ends_at for half in halves)
            (giving, amount), (receiving, _) = sorted(moved, key=lambda one: one[1])
            moves.demand_source(giving, receiving)
            moves.demand_unspent(giving, -amount, now, until=until)
        case Raise.Kind.RESET:
            afresh = moves.spent_afresh(moved[0][0], now)
            demand_fit(moved[0][0], afresh, now)
            return afresh
    if wanted is not None and not 0 < wanted <= asked:
        raise ValidationError(
            {"amount_nano_usd": f"Grant more than $0 and at most {show_usd(asked)}, which was asked for."}
        )
    for budget, amount in moved:
        demand_fit(budget, amount, now)
    return asked if wanted is None else wanted


def _decide(row: Raise, halves: list[Raise], status: Status, actor: Any, note: str, now: datetime) -> None:
    """Move a waiting raise, both halves of a transfer, to its decision, once.

    The race of two approvers: the update finds the rows waiting for one of them only. That nobody decides about
    their own is part of it, and of a constraint of the table besides.
    """
    in_time = Q(ends_at__gt=now, budget__isnull=False) if status == Status.APPROVED else Q()
    own = Q(requester=actor.pk, requester__isnull=False)
    waiting = Raise.objects.filter(in_time & ~own, pk__in=[half.pk for half in halves], status=Status.REQUESTED)
    decided = {"decided_by_id": actor.pk, "decided_by_name": name_of(actor), "decided_at": now}
    if not _all(waiting, halves, status=status, decision_note=note.strip()[:300], **decided):
        raise ValidationError(why_not(row, actor, now) or "The other half of this transfer is gone. Decline it.")


def _all(waiting: QuerySet[Raise], halves: list[Raise], **values: Any) -> bool:
    """Set values on every half, or, where one of them is no longer among those that wait, on none."""
    with transaction.atomic():
        whole = waiting.update(**values) == len(halves)
        # Nothing may be left half decided, and the halves are read as they stood: what is told comes from that.
        transaction.set_rollback(not whole)
    _refresh(halves)
    return whole


def _demand_decider(row: Raise, halves: list[Raise], actor: Any, now: datetime) -> None:
    """Somebody else than who asked, who may decide. Raises ValidationError, PermissionDenied."""
    if row.status != Status.REQUESTED:
        raise ValidationError(_already(row))
    if row.requester_id is not None and row.requester_id == actor.pk:
        raise PermissionDenied("You asked for it yourself: another person decides.")
    _demand_right(row, halves, actor)


def _demand_right(row: Raise, halves: list[Raise], actor: Any) -> None:
    """The permission to decide, and sight of every budget concerned. Raises PermissionDenied."""
    if not actor.has_perm("governance.decide_raise"):
        raise PermissionDenied("Your roles lack the permission “governance.decide_raise”. Ask Finance to decide.")
    if Raise.objects.visible_to(actor).filter(pk__in=[half.pk for half in halves]).count() != len(halves):
        raise PermissionDenied(f"{row} reaches beyond the budgets that you may see.")


def _halves(row: Raise) -> list[Raise]:
    """The row itself, and the other half of a transfer."""
    return [row, row.counterpart] if row.counterpart is not None else [row]


def _refresh(rows: list[Raise]) -> None:
    """Read again what changes; what a row leads to stays loaded, so that the halves stay these very objects."""
    for row in rows:
        row.refresh_from_db(fields=[
            "status", "amount_nano_usd", "decided_by", "decided_by_name", "decided_at", "decision_note", "ended_at",
            "ended_by_name",
        ])  # fmt: skip


def _already(row: Raise) -> str:
    who = f" by {row.decided_by_name}" if row.decided_by_name else ""
    when = f" on {row.decided_at:%Y-%m-%d %H:%M} UTC" if row.decided_at else ""
    return f"{row} is already decided: {row.get_status_display().lower()}{who}{when}."


def _record(row: Raise, action: str, actor: Any, was: Status, changes: dict[str, list[Any]], note: str) -> None:
    audit.record(
        actor=actor, action=action, target=row, changes={**changes, "status": [was.value, row.status]}, note=note
    )
