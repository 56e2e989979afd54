"""The admin's title, colours and grouped side navigation (django-unfold's UNFOLD setting)."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse_lazy


def _can(*permissions: str) -> Callable[[HttpRequest], bool]:
    """Shown to whoever has one of the permissions."""
    return lambda request: any(request.user.has_perm(permission) for permission in permissions)


def _page(title: str, icon: str, url_name: str, *permissions: str, **arguments: Any) -> dict[str, Any]:
    link = reverse_lazy(f"admin:{url_name}", **arguments)
    return {"title": title, "icon": icon, "link": link, "permission": _can(*permissions)}


def _rows(title: str, icon: str, model: str) -> dict[str, Any]:
    """The list of a model, for whoever may view it."""
    app, _, name = model.partition(".")
    return _page(title, icon, f"{app}_{name}_changelist", f"{app}.view_{name}")


_NAVIGATION: list[dict[str, Any]] = [
    {
        "title": "Overview",
        "items": [{"title": "Dashboard", "icon": "dashboard", "link": reverse_lazy("admin:index")}],
    },
    {
        "title": "Spend",
        "separator": True,
        "items": [
            _rows("Budgets", "savings", "governance.budget"),
            {**_rows("Raises", "trending_up", "governance.raise"), "badge": "governance.admin.raises.waiting_badge"},
            _rows("Rate limits", "speed", "governance.ratelimit"),
            _rows("Alerts", "notifications", "governance.alert"),
            _rows("Alert channels", "campaign", "governance.alertchannel"),
            _rows("Alert deliveries", "outgoing_mail", "governance.alertdelivery"),
        ],
    },
    {
        "title": "Reconciliation",
        "separator": True,
        "items": [
            _rows("Days and months", "balance", "governance.reconciliationday"),
            _rows("Exceptions", "rule", "governance.reconciliationexception"),
            _rows("Workspaces", "workspaces", "governance.workspace"),
        ],
    },
    {
        "title": "People & keys",
        "separator": True,
        "items": [
            _rows("Customers", "domain", "governance.customer"),
            _rows("Teams", "groups", "governance.team"),
            _rows("Projects", "folder", "governance.project"),
            _rows("Developers", "person", "governance.developer"),
            _rows("Virtual keys", "key", "governance.virtualkey"),
        ],
    },
    {
        "title": "Traffic",
        "separator": True,
        "items": [
            _rows("Request log", "receipt_long", "observability.request"),
            {
                "title": "Live log",
                "icon": "sensors",
                "link": reverse_lazy("live_log"),
                "permission": _can("observability.view_request"),
            },
            _rows("Log exports", "download", "observability.logexport"),
        ],
    },
    {
        "title": "Providers & prices",
        "separator": True,
        "items": [
            _rows("Providers", "cloud", "governance.provider"),
            _rows("Routing rules", "fork_right", "governance.routingrule"),
            _rows("Prices", "sell", "governance.price"),
            _rows("Price proposals", "price_check", "governance.priceproposal"),
            _rows("Customer terms", "percent", "governance.priceoverride"),
            _rows("Model mappings", "alt_route", "governance.modelalias"),
            {
                "title": "Models without a price",
                "icon": "money_off",
                "link": reverse_lazy("unpriced_models"),
                "permission": _can("governance.view_price"),
            },
            _rows("Re-pricing", "history_edu", "governance.repricing"),
        ],
    },
    {
        "title": "Audit",
        "separator": True,
        "items": [_rows("Audit trail", "fact_check", "governance.auditentry")],
    },
    {
        "title": "Settings",
        "separator": True,
        "collapsible": True,
        "items": [
            _rows("Users", "manage_accounts", "auth.user"),
            _rows("Roles", "badge", "auth.group"),
            _rows("Gateway processes", "memory", "governance.gatewayprocess"),
            _rows("Schedules", "schedule", "django_celery_beat.periodictask"),
        ],
    },
]

# Shades around the blue of the budget bars (#0072b2), so that every page has one accent.
_BLUE = {
    "50": "#eff8ff",
    "100": "#dbeefe",
    "200": "#bfe1fd",
    "300": "#92cefb",
    "400": "#5eb2f0",
    "500": "#2f95dc",
    "600": "#0072b2",
    "700": "#075f95",
    "800": "#0c507b",
    "900": "#104366",
    "950": "#0b2b44",
}

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Comptroller",
    "SITE_HEADER": "Comptroller",
    "SITE_SUBHEADER": "What Claude Code costs",
    "SITE_SYMBOL": "account_balance",
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("governance/favicon.svg")}
    ],
    "SHOW_HISTORY": False,
    "DASHBOARD_CALLBACK": "observability.admin.dashboard.index",
    "SHOW_VIEW_ON_SITE": False,
    "COLORS": {"primary": _BLUE},
    "STYLES": [lambda request: static("governance/comptroller.css")],
    "SIDEBAR": {"show_search": True, "show_all_applications": False, "navigation": _NAVIGATION},
    "COMMAND": {
        # Whitelisted: a search over every model would count the request log and the audit trail.
        "search_models": ["governance.virtualkey", "governance.developer", "governance.team", "governance.customer"],
        "show_history": False,
    },
}
