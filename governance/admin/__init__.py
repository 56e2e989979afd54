"""Admin pages of governance, one module a subject."""

from governance.admin import (
    alerts,
    keys,
    limits,
    people,
    price_rules,
    prices,
    processes,
    providers,
    raises,
    rate_limits,
    routing,
    schedules,
    tenants,
    trail,
)

__all__ = [
    "alerts",
    "keys",
    "limits",
    "people",
    "price_rules",
    "prices",
    "processes",
    "providers",
    "raises",
    "rate_limits",
    "routing",
    "schedules",
    "tenants",
    "trail",
]
