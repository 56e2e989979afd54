"""Admin pages of governance, one module a subject."""

from governance.admin import keys, limits, people, prices, providers, schedules, tenants, trail

__all__ = ["keys", "limits", "people", "prices", "providers", "schedules", "tenants", "trail"]
