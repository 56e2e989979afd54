"""Admin pages of governance, one module a subject."""

from governance.admin import alerts, keys, limits, people, prices, providers, schedules, tenants, trail

__all__ = ["alerts", "keys", "limits", "people", "prices", "providers", "schedules", "tenants", "trail"]
