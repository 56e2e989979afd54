"""What one customer pays instead of the list price, and which model prices an id that is not listed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from governance.catalog import price_book
from governance.domain.model_ids import REGIONS, normalise
from governance.domain.pricing import PriceBook
from governance.models import Customer, ModelAlias, Price, PriceOverride
from governance.services import audit
from governance.services.audit import Actor
from governance.services.reach import demand_reach
from governance.services.records import delete_with_audit, lock, save_with_audit

IN_THE_PAST = (
    "It would begin in the past: the requests since then were charged without it. If the agreement is older than its "
    "entry, say that it is backdated, then re-price the period."
)


def create_override(
    *,
    customer: Customer,
    effective_from: datetime | None = None,
    backdated: bool = False,
    actor: Actor,
    actor_name: str = "",
    **values: Any,
) -> PriceOverride:
    """An agreement from a moment on (default: now); `values` are its terms, models, platform, end and note.

    `backdated` allows a moment in the past: what was charged since stays until the period is re-priced.
    Raises ValidationError, and OutOfReach: what a customer pays belongs to the customer as a whole.
    """
    rates = {name: str(rate) for name, rate in (values.pop("rates", None) or {}).items()}
    override = PriceOverride(customer=customer, effective_from=effective_from or timezone.now(), rates=rates, **values)
    check_terms(
        percent=override.percent,
        rates=rates,
        effective_from=override.effective_from,
        effective_to=override.effective_to,
        backdated=backdated or effective_from is None,
    )
    if actor is not None and actor.is_authenticated:
        override.created_by_id = actor.pk
    return save_with_audit(instance=override, actor=actor, actor_name=actor_name, note=override.note)


def check_terms(
    *,
    percent: Decimal | None,
    rates: Mapping[str, str],
    effective_from: datetime,
    effective_to: datetime | None,
    backdated: bool,
) -> None:
    """Refuse terms that say nothing or two things, or that begin in the past unasked. Raises ValidationError."""
    if (percent is None) == (not rates):
        raise ValidationError("Give either a percentage or fixed rates, not both and not neither.")
    if effective_to is not None and effective_to <= effective_from:
        raise ValidationError({"effective_to": "The end must lie after the start."})
    # A minute of grace: a form that says "now" is sent a little later.
    if effective_from < timezone.now() - timedelta(minutes=1) and not backdated:
        raise ValidationError({"effective_from": IN_THE_PAST})


def end_override(
    *, override: PriceOverride, actor: Actor, at: datetime | None = None, note: str = "", actor_name: str = ""
) -> PriceOverride:
    """End an agreement at a moment (default: now), never in the past: requests were charged by it.

    One that has not begun is ended at its start: it never comes into force. Raises ValidationError, Vanished,
    OutOfReach.
    """
    now = timezone.now()
    with transaction.atomic():
        stored = lock(override)
        demand_reach(actor, stored)
        moment = max(at or now, stored.effective_from)
        if moment < now and stored.effective_from < now:
            raise ValidationError("It cannot end in the past: requests since then were charged by it. End it now.")
        if stored.effective_to is not None and stored.effective_to <= moment:
            raise ValidationError(f"It ends before that already, on {stored.effective_to:%Y-%m-%d %H:%M} UTC.")
        before, stored.effective_to = stored.effective_to, moment
        stored.save(update_fields=["effective_to"])
        audit.record(
            actor=actor,
            actor_name=actor_name,
            action="price_override.ended",
            target=stored,
            changes={"effective_to": [before, moment]},
            note=note,
        )
    return stored


def map_model(*, alias: ModelAlias, actor: Actor, actor_name: str = "", fields: Any = None) -> ModelAlias:
    """Save a mapping, new or changed. Requests from then on are priced by it. Raises ValidationError."""
    check_mapping(alias)
    return save_with_audit(instance=alias, actor=actor, actor_name=actor_name, fields=fields)


def unmap_model(*, alias: ModelAlias, actor: Actor) -> None:
    """Remove a mapping: the id is unpriced from then on."""
    delete_with_audit(instance=alias, actor=actor)


def check_mapping(alias: ModelAlias) -> None:
    """Refuse a mapping that would have no effect or lead nowhere. Raises ValidationError."""
    own = Price.objects.filter(platform=alias.platform, model_id=normalise(alias.alias), input__gt=0, output__gt=0)
    if own.exists():
        raise ValidationError(
            {"alias": "This id has a price of its own, which is taken first. Make a new price for it instead."}
        )
    if alias.region and (alias.platform != Price.Platform.BEDROCK or alias.region not in REGIONS):
        raise ValidationError(
            {"region": f"A region is for Bedrock and one of {', '.join(REGIONS)}. Elsewhere leave it empty."}
        )
    if alias.region and normalise(alias.model_id).partition(".")[0] in REGIONS:
        raise ValidationError({"region": "The model's id names a region already. Leave this empty."})
    platform = Price.Platform(alias.platform).label
    # Without the mappings: nothing follows a second one, so the target needs a price of its own.
    listed = PriceBook(price_book().rows).find(alias.platform, alias.target, timezone.now())
    if alias.target == alias.alias or listed is None:
        told = f"“{alias.target}” has no price on {platform}. Choose an id of the price list, exactly."
        if ModelAlias.objects.filter(platform=alias.platform, alias=alias.target).exclude(alias=alias.alias).exists():
            told = f"“{alias.target}” is mapped itself, and a mapping is followed once. Choose the id it is priced as."
        raise ValidationError({"model_id": told})
