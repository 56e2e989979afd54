"""The admin's index: unfold's DASHBOARD_CALLBACK."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.utils import timezone

from governance.models import Provider
from observability.selectors.checklist import first_steps
from observability.selectors.dashboard import DEFAULT_DAYS, RANGES, build


def index(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add the dashboard to the index page; without permission on the log the page says so instead."""
    asked = request.GET.get("days", "")
    days = int(asked) if asked.isdigit() and int(asked) in RANGES else DEFAULT_DAYS
    board = None
    if request.user.has_perm("observability.view_request"):
        board = build(request.user, days=days, now=timezone.now())
    may_set_up = request.user.has_perm("governance.add_customer")
    return {
        **context,
        "title": "Overview",
        "is_fullwidth": "1",
        "board": board,
        "day_ranges": RANGES,
        "log_range": f"{days}d",
        "simulated": Provider.objects.filter(is_active=True, kind=Provider.Kind.SIMULATED).exists(),
        "steps": first_steps() if may_set_up else [],
    }
