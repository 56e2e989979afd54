"""Background work of governance: idempotent sweeps that a lost message or a second run does no harm to."""

from __future__ import annotations

import logging
from dataclasses import asdict
from datetime import timedelta
from decimal import Decimal
from typing import Any

from celery import shared_task
from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils import timezone

from governance import leases
from governance.alerts import deliver, evaluate, providers, raises
from governance.price_download import fetch
from governance.pricing_source import PriceSourceError, read
from governance.selectors_prices import wanted_models
from governance.services import processes, provider_states
from governance.services.prices import AutoApproval, propose

logger = logging.getLogger(__name__)

SILENT_LIMITS = timedelta(minutes=2)
"""What a process holds of limits (not of money) goes back after so long without a sign of life."""


@shared_task(name="governance.tasks.refresh_prices")
def refresh_prices(source: str = "") -> dict[str, Any]:
    """Compare the catalog with `COMPTROLLER_PRICE_SOURCE` (or `source`) and propose every difference.

    Returns counts and `error`: empty, or why nothing was changed.
    """
    options = settings.COMPTROLLER
    origin = source or options["COMPTROLLER_PRICE_SOURCE"]
    rule = AutoApproval(
        percent=Decimal(options["COMPTROLLER_PRICE_AUTO_APPROVE_PERCENT"]),
        new_models=options["COMPTROLLER_PRICE_AUTO_APPROVE_NEW"],
    )
    try:
        done = propose(source=read(fetch(origin), wanted_models()), origin=origin, rule=rule)
    except (PriceSourceError, ValidationError) as error:
        reason = " ".join(error.messages) if isinstance(error, ValidationError) else str(error)
        logger.error("Price refresh changed nothing: %s", reason)
        return {"source": origin, "error": reason}
    counts = asdict(done)
    logger.info("Price refresh from %s: %s", origin, ", ".join(f"{n} {k}" for k, n in counts.items() if n))
    return {"source": origin, "error": "", **counts}


@shared_task(name="governance.tasks.evaluate_alerts")
def evaluate_alerts() -> dict[str, int]:
    """Record passed thresholds, the steps of raises and the trouble of providers, each once; gives how many are new.

    What is new is sent at once, and not only by the next `deliver_alerts`: it would be a minute later.
    """
    now = timezone.now()
    found = {
        "thresholds": len(evaluate.evaluate(now)),
        "raises": len(raises.tell_of_raises(now)),
        "providers": len(providers.watch(now)),
    }
    if any(found.values()):
        deliver.deliver()
    return found


@shared_task(name="governance.tasks.deliver_alerts")
def deliver_alerts() -> dict[str, int]:
    """Send the messages that are due; gives how many were sent, failed, and wait for another try."""
    return asdict(deliver.deliver())


@shared_task(name="governance.tasks.tend_allowances")
def tend_allowances() -> dict[str, int]:
    """Give back what silent processes hold of limits, and forget windows and processes of long ago; gives counts."""
    now = timezone.now()
    return {
        "released": leases.release_silent_limits(SILENT_LIMITS),
        "windows": leases.forget_old(now),
        "processes": processes.forget_ended(now),
        "provider_states": provider_states.forget_gone(),
    }
