"""How many requests each routing rule decided in the last day, for the list of rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from django.http import HttpRequest
from django.utils import timezone

from governance.admin.routing import RoutingRuleAdmin
from observability.dryrun import decided_by
from observability.models import Request


def last_day(request: HttpRequest, names: Sequence[str]) -> Mapping[str, int]:
    """By the rule's name, of the requests that the user may see."""
    since = timezone.now() - timedelta(hours=24)
    return decided_by(names, Request.objects.visible_to(request.user).filter(started_at__gte=since))


# Here and not in AppConfig.ready: admin modules may be imported only after unfold has put its site in place.
RoutingRuleAdmin.counters.append(last_day)
