"""Changes to the price catalog: propose what a source lists differently, approve, reject.

A price row is never edited. Approval makes a new row with a later date; requests before it keep the old one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from governance.catalog import columns, price_row, stored_fields
from governance.corrections import complete, fields_of
from governance.models import Price, PriceProposal
from governance.pricing_source import CLASSES, Listing, Source
from governance.services import audit
from governance.services.audit import Actor
from governance.services.records import save_with_audit

logger = logging.getLogger(__name__)

Status = PriceProposal.Status
IN_THE_PAST = (
    "A change of price cannot begin in the past: the requests since then were charged at the old price. Where it was "
    "published late, say that it is backdated, then re-price the period."
)
REFRESH = "price refresh"
"""Who the audit trail names where a rule decided."""


@dataclass(frozen=True, slots=True)
class AutoApproval:
    """What approves itself; by default nothing does."""

    percent: Decimal = Decimal(0)
    """Changes of which none is larger, up or down."""
    new_models: bool = False


@dataclass(slots=True)
class Refreshed:
    """What a refresh did: counts of models."""

    listed: int = 0
    unchanged: int = 0
    proposed: int = 0
    auto_approved: int = 0
    waiting: int = 0
    """Proposed earlier and still waiting, unchanged."""
    rejected_before: int = 0
    """Rejected by a person for this very change; not proposed again."""
    withdrawn: int = 0
    """Waiting proposals that the source no longer supports."""
    left_out: int = 0


def propose(*, source: Source, origin: str, rule: AutoApproval | None = None, now: datetime | None = None) -> Refreshed:
    """Make one proposal for each model that the source prices differently from the catalog; all or nothing.

    Models that the source lacks are left alone. Running it again changes nothing. Raises ValidationError where
    another refresh is under way.
    """
    now = now or timezone.now()
    rule = rule or AutoApproval()
    done = Refreshed(left_out=sum(source.left_out.values()))
    try:
        with transaction.atomic():
            for proposal in _differences(source.listings, origin, source.version, now, done):
                if _approves_itself(proposal, rule):
                    _decide(proposal, Status.AUTO_APPROVED, None, "within the rule for automatic approval", now)
                    _make_price(proposal, now, now)
                    done.auto_approved += 1
    except IntegrityError:
        # Two refreshes at once: the constraint "one waiting proposal a model" lets one of them win.
        raise ValidationError("Another price refresh is under way; its proposals stand.") from None
    return done


def approve_proposal(
    *,
    proposal: PriceProposal,
    actor: Actor,
    effective_from: datetime | None = None,
    note: str = "",
    backdated: bool = False,
) -> Price:
    """Make the proposed price row, in force from a moment on (default: now), and return it.

    `backdated` allows a moment in the past, for a change that was published late: what was charged since stays until
    the period is re-priced. Raises ValidationError where somebody else decided first, the catalog has moved on since,
    or the moment lies in the past without that.
    """
    now = timezone.now()
    moment = effective_from or now
    with transaction.atomic():
        _decide(proposal, Status.APPROVED, actor, note, now)
        price = _make_price(proposal, moment, now, backdated=backdated)
        audit.record(
            actor=actor,
            action="price_proposal.approved",
            target=proposal,
            changes={"status": [Status.PENDING.value, Status.APPROVED.value], **_old_and_new(proposal)},
            note=note,
        )
    return price


def reject_proposal(*, proposal: PriceProposal, actor: Actor, note: str = "") -> PriceProposal:
    """Refuse the change; the same one is not proposed again. Raises ValidationError where it was decided already."""
    with transaction.atomic():
        _decide(proposal, Status.REJECTED, actor, note, timezone.now())
        audit.record(
            actor=actor,
            action="price_proposal.rejected",
            target=proposal,
            changes={"status": [Status.PENDING.value, Status.REJECTED.value], **_old_and_new(proposal)},
            note=note,
        )
    return proposal


def create_price(
    *,
    platform: str,
    model_id: str,
    effective_from: datetime,
    actor: Actor,
    actor_name: str = "",
    backdated: bool = False,
    **values: Any,
) -> Price:
    """A new row of the catalog; `values` are its rates and other columns. Raises ValidationError.

    It may begin in the past only where the model had no price then, or where `backdated` says that this is meant:
    everything else was charged already, and stays as it is until the period is re-priced.
    """
    price = Price(platform=platform, model_id=model_id, effective_from=effective_from, **values)
    with transaction.atomic():
        if not backdated:
            check_beginning(platform, model_id, effective_from)
        price.full_clean()
        try:
            price_row(price)
        except ValueError as error:
            raise ValidationError(f"This price cannot be read: {error}.") from None
        return save_with_audit(instance=price, actor=actor, actor_name=actor_name)


def check_beginning(platform: str, model_id: str, effective_from: datetime) -> None:
    """Refuse a row that would begin in the past and replace a price by which requests were charged."""
    replaced = Price.objects.filter(platform=platform, model_id=model_id, effective_from__lt=effective_from)
    if effective_from < timezone.now() and replaced.exists():
        raise ValidationError({"effective_from": IN_THE_PAST})


def differences(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> list[dict[str, str | None]]:
    """What changes between two prices in JSON form: field, old, new and percent (None where one side is missing)."""
    before, after = _flat(old or {}), _flat(new)
    changes: list[dict[str, str | None]] = []
    for field in [*after, *(name for name in before if name not in after)]:
        was, will = before.get(field), after.get(field)
        if was != will:
            changes.append({"field": field, "old": was, "new": will, "percent": _percent(was, will)})
    return changes


def _differences(
    listings: Iterable[Listing], origin: str, version: str, now: datetime, done: Refreshed
) -> list[PriceProposal]:
    """Write the proposals that are new, and count the rest."""
    rows: dict[tuple[str, str], list[Price]] = {}
    for price in Price.objects.order_by("effective_from"):
        rows.setdefault((price.platform, price.model_id), []).append(price)
    waiting = {
        (p.platform, p.model_id): p for p in PriceProposal.objects.select_for_update().filter(status=Status.PENDING)
    }
    rejected = {
        (p.platform, p.model_id, p.current_id): p.proposed
        for p in PriceProposal.objects.filter(status=Status.REJECTED).order_by("decided_at")
    }
    made: list[PriceProposal] = []
    for listing in listings:
        corrected, _ = complete(listing)
        if corrected is None:
            done.left_out += 1
            continue
        done.listed += 1
        key = corrected.platform, corrected.model_id
        proposed, history = fields_of(corrected), rows.get(key, [])
        past = [price for price in history if price.effective_from <= now]
        current = past[-1] if past else None
        old = waiting.get(key)
        # A price that is already entered for a later date is no news either.
        known = [_safe_fields(price) for price in history if price is current or price.effective_from > now]
        if any(_completed(proposed, row) == row for row in known):
            done.unchanged += 1
            if old is not None:
                _withdraw(old, now, "The source agrees with the catalog again.")
                done.withdrawn += 1
            continue
        proposed = _completed(proposed, _safe_fields(current) if current else {})
        if old is not None and old.proposed == proposed and old.current_id == (current.pk if current else None):
            done.waiting += 1
            continue
        if rejected.get((*key, current.pk if current else None)) == proposed:
            done.rejected_before += 1
            continue
        if old is not None:
            _withdraw(old, now, "Replaced by a newer proposal.")
        made.append(
            PriceProposal.objects.create(
                platform=corrected.platform,
                model_id=corrected.model_id,
                current=current,
                effective_from=now,
                proposed=proposed,
                changes=differences(_safe_fields(current) if current else None, proposed),
                source=origin[:300],
                version=version,
            )
        )
        done.proposed += 1
    return made


def _safe_fields(price: Price) -> dict[str, Any]:
    """The stored price in JSON form; a row that cannot be read equals nothing, so the source's price is proposed."""
    try:
        return stored_fields(price)
    except ValueError:
        return {}


def _completed(proposed: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """What a source lists, with what it says nothing about taken from the row in the catalog.

    A source that leaves out a factor or a limit does not say that it is gone: only a person removes one.
    """
    kept = {
        name: row[name] for name in ("context_tokens", "max_output_tokens") if proposed[name] is None and name in row
    }
    return {
        **proposed,
        **kept,
        "multipliers": dict(sorted({**row.get("multipliers", {}), **proposed["multipliers"]}.items())),
    }


def _withdraw(proposal: PriceProposal, now: datetime, note: str) -> None:
    PriceProposal.objects.filter(pk=proposal.pk, status=Status.PENDING).update(
        status=Status.SUPERSEDED, decided_at=now, decision_note=note
    )


def _approves_itself(proposal: PriceProposal, rule: AutoApproval) -> bool:
    if proposal.current_id is None:
        return rule.new_models
    percents = [change["percent"] for change in proposal.changes]
    return rule.percent > 0 and all(p is not None and abs(Decimal(p)) <= rule.percent for p in percents)


def _decide(proposal: PriceProposal, status: PriceProposal.Status, actor: Actor, note: str, now: datetime) -> None:
    """Move a waiting proposal to its end, once.

    The race of two people who decide at the same time: the update finds the row waiting for one of them only.
    """
    user = actor if actor is not None and actor.is_authenticated else None
    won = PriceProposal.objects.filter(pk=proposal.pk, status=Status.PENDING).update(
        status=status, decided_at=now, decided_by_id=user.pk if user else None, decision_note=note[:300]
    )
    proposal.refresh_from_db()
    if not won:
        raise ValidationError(
            f"The proposal for {proposal} is already decided ({proposal.get_status_display().lower()})."
        )
    if status == Status.AUTO_APPROVED:
        audit.record(
            actor=None,
            actor_name=REFRESH,
            action="price_proposal.auto_approved",
            target=proposal,
            changes=_old_and_new(proposal),
            note=note,
        )


def _make_price(proposal: PriceProposal, moment: datetime, now: datetime, *, backdated: bool = False) -> Price:
    """The new row, when it still follows the row that it was compared with."""
    history = Price.objects.filter(platform=proposal.platform, model_id=proposal.model_id)
    latest = history.filter(effective_from__lte=moment).order_by("-effective_from").first()
    if (latest.pk if latest else None) != proposal.current_id:
        if proposal.current is not None and moment <= proposal.current.effective_from:
            raise ValidationError(
                "The new price must begin after the one it replaces, which is in force from "
                f"{proposal.current.effective_from:%Y-%m-%d %H:%M} UTC."
            )
        raise ValidationError(
            f"The price of {proposal} has changed since this was proposed. Refresh the prices and decide on the "
            "new proposal."
        )
    if latest is not None and moment < now and not backdated:
        raise ValidationError(IN_THE_PAST)
    try:
        with transaction.atomic():
            price = Price.objects.create(
                platform=proposal.platform,
                model_id=proposal.model_id,
                effective_from=moment,
                source=proposal.source,
                version=proposal.version,
                **columns(proposal.proposed),
            )
    except IntegrityError:
        raise ValidationError(f"{proposal} has a price from this very moment; choose another one.") from None
    proposal.price = price
    proposal.save(update_fields=["price"])
    return price


def _old_and_new(proposal: PriceProposal) -> dict[str, list[Any]]:
    return {change["field"]: [change["old"], change["new"]] for change in proposal.changes}


def _flat(fields: Mapping[str, Any]) -> dict[str, str]:
    """One entry for each number of a price, under the name that people read."""
    flat = {kind: str(fields[kind]) for kind in CLASSES if kind in fields}
    for tier in fields.get("tiers", []):
        above = f"above {int(tier['above_prompt_tokens']):,} tokens"
        flat |= {f"{kind} {above}": str(tier[kind]) for kind in CLASSES if kind in tier}
    flat |= {f"factor {name}": str(factor) for name, factor in fields.get("multipliers", {}).items()}
    for name in ("web_search", "context_tokens", "max_output_tokens"):
        if fields.get(name) is not None:
            flat[name] = str(fields[name])
    return flat


def _percent(old: str | None, new: str | None) -> str | None:
    if old is None or new is None or not Decimal(old):
        return None
    return str(((Decimal(new) / Decimal(old) - 1) * 100).quantize(Decimal("0.01")))
