"""The one time zone that a person's figures are reported in."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

from governance.models import Customer

UTC_ZONE = ZoneInfo("UTC")


def reporting_zone(user: Any) -> ZoneInfo:
    """The zone of the customers that the user sees where they share one, else UTC."""
    zones = list(Customer.objects.visible_to(user).order_by().values_list("timezone", flat=True).distinct()[:2])
    return ZoneInfo(zones[0]) if len(zones) == 1 else UTC_ZONE
