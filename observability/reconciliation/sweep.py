"""The daily run: read the last days again, compare them, and list what came into closed months."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import DatabaseError

from governance.services.months import list_late_charges
from observability.reconciliation.client import Unreachable
from observability.reconciliation.parse import BadReport
from observability.reconciliation.services import admin_api, compare_day, reconcile
from observability.reconciliation.waiting import waiting_days

logger = logging.getLogger(__name__)


def compare_waiting() -> int:
    """Compare the days for which newer figures came; gives how many.

    Safe to repeat and to interrupt: a day waits until its comparison is kept, and each is kept by itself.
    """
    days = waiting_days()
    done = 0
    for day in days:
        try:
            compare_day(day)
            done += 1
        except DatabaseError:
            raise
        except Exception:
            # It waits on, as its page says; the other days must not wait with it.
            logger.exception("%s could not be compared", day)
    return done


def sweep(*, now: datetime, actor_name: str = "daily reconciliation") -> dict[str, Any]:
    """Reconcile the days that may still have changed, today left out: it is not over.

    Gives counts and `error`, empty or why the reports could not be read; days are compared with what is known anyway.
    """
    today = now.astimezone(UTC).date()
    first, last = today - timedelta(days=settings.COMPTROLLER["COMPTROLLER_RECONCILE_DAYS"]), today - timedelta(days=1)
    error, api = "", admin_api()
    try:
        days = reconcile(first=first, last=last, api=api, actor_name=actor_name, now=now)
    except (Unreachable, BadReport, ValidationError) as problem:
        error = " ".join(problem.messages) if isinstance(problem, ValidationError) else str(problem)
        logger.error("The provider's reports were not read: %s", error)
        days = reconcile(first=first, last=last, api=None, now=now)
    return {
        "from": first.isoformat(),
        "to": last.isoformat(),
        "read": api is not None and not error,
        "off": sum(day.state == day.State.OFF for day in days),
        "late": list_late_charges(now=now),
        "error": error,
    }
